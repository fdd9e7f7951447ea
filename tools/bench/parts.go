package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// runClosedLoops measures how many heartbeats each server acknowledges when callers send without a pause.
func (b *bench) runClosedLoops(report func(Row)) error {
	for _, text := range strings.Split(b.loads, ",") {
		var connections, callers int
		if _, err := fmt.Sscanf(text, "%dx%d", &connections, &callers); err != nil {
			return fmt.Errorf("--loads is %q: allowed is CONNECTIONSxCALLERS,…", b.loads)
		}

		for run := range b.runs {
			for _, server := range strings.Split(b.servers, ",") {
				row, err := b.measureClosedLoop(server, connections, callers, b.registered)
				if err != nil {
					return fmt.Errorf("%s with %d connections and %d callers: %w", server, connections, callers, err)
				}
				row.Run = run + 1
				report(row)
			}
		}
	}
	return nil
}

// runPacedLoads measures latencies while each controller sends heartbeats at the intervals of production.
func (b *bench) runPacedLoads(report func(Row)) error {
	for _, load := range []struct {
		controllers int
		seconds     int
		servers     []string
	}{
		{1000, max(1, b.pacedSeconds/2), []string{"echo", "unary", "stream"}},
		{10000, b.pacedSeconds, []string{"echo", "unary", "stream"}},
		{50000, 3 * b.pacedSeconds, []string{"unary"}},
	} {
		for run := range b.runs {
			for _, server := range load.servers {
				row, err := b.measurePacedLoad(server, load.controllers, time.Duration(load.seconds)*time.Second)
				if err != nil {
					return fmt.Errorf("%s, %d controllers paced: %w", server, load.controllers, err)
				}

				row.Run = run + 1
				report(row)
			}
		}
	}
	return nil
}

// runGrowth measures what depends on the number of registered controllers.
func (b *bench) runGrowth(report func(Row)) error {
	for _, registered := range []int{1000, 10000, 100000} {
		for run := range b.runs {
			row, err := b.measureClosedLoop("unary", 64, 512, registered)
			if err != nil {
				return fmt.Errorf("growth at %d: %w", registered, err)
			}
			row.Part = "growth"
			row.Run = run + 1
			report(row)
		}

		rows, err := b.measureFleetReads(registered)
		if err != nil {
			return fmt.Errorf("fleet of %d: %w", registered, err)
		}
		for _, row := range rows {
			report(row)
		}
	}
	return nil
}

func (b *bench) measureClosedLoop(server string, connections, callers, registered int) (Row, error) {
	return b.measureLoad(loadSpec{
		callers:     callers,
		controllers: registered,
		// All controllers send a heartbeat before the measurement: the first one on a page that was just vacuumed costs more.
		warmUp:   2*time.Second + time.Duration(registered)*100*time.Microsecond,
		duration: time.Duration(b.seconds) * time.Second,
	}, loadSpec.runClosedLoop, Row{Part: "closed", Server: server, Connections: connections})
}

func (b *bench) measurePacedLoad(server string, controllers int, d time.Duration) (Row, error) {
	return b.measureLoad(loadSpec{
		callers:     1000,
		controllers: controllers,
		warmUp:      15 * time.Second,
		duration:    d,
	}, loadSpec.runPaced, Row{Part: "paced", Server: server, Connections: 1000})
}

// measureLoad starts the server of a row, sends the load and completes the row.
func (b *bench) measureLoad(spec loadSpec, send func(loadSpec, context.Context) (loadResult, error), row Row) (Row, error) {
	t, err := b.startTarget(row.Server, spec.controllers)
	if err != nil {
		return Row{}, err
	}
	defer t.stop()
	connections, err := connect(t.address, row.Connections)
	if err != nil {
		return Row{}, err
	}
	defer closeAll(connections)

	spec.connections = connections
	spec.newSender = t.newSender
	spec.meter = b.newMeter(t)
	result, err := send(spec, b.ctx)
	if err != nil {
		return Row{}, err
	}
	row.Callers = spec.callers
	row.Controllers = spec.controllers
	return spec.meter.completeRow(row, result)
}
