package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/pkg/store"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

const (
	sweeps   = 15
	pageSize = 1000
)

// measureFleetReads measures what reads every controller: a staleness sweep that finds no stale controller, and a listing
// page by page.
func (b *bench) measureFleetReads(registered int) ([]Row, error) {
	t, err := b.startTarget("unary", registered)
	if err != nil {
		return nil, err
	}
	defer t.stop()

	sweep, err := b.measureSweep(t, registered)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	listing, err := b.measureListing(t, registered)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	return []Row{sweep, listing}, nil
}

func (b *bench) measureSweep(t *target, registered int) (row Row, err error) {
	s, err := store.New(store.Config{URL: t.url})
	if err != nil {
		return row, err
	}
	defer func() { _ = s.Close() }()
	if err := t.skipHold(b.ctx); err != nil {
		return row, err
	}

	// With this interval a sweep is always due.
	policy := service.SweepPolicy{Threshold: time.Hour, Interval: time.Nanosecond, Tolerance: time.Minute, Actor: "bench"}
	before, err := t.writtenRows(b.ctx)
	if err != nil {
		return row, err
	}
	var measured loadResult

	for range sweeps {
		startedAt := time.Now()
		result, err := s.Sweep(b.ctx, policy)
		if err != nil {
			return row, err
		}
		if !result.Swept || result.Hold || len(result.Transitions) > 0 {
			return row, fmt.Errorf("want a sweep that finds no stale controller, got %+v", result)
		}
		measured.latencies = append(measured.latencies, time.Since(startedAt))
	}

	after, err := t.writtenRows(b.ctx)
	if err != nil {
		return row, err
	}
	if before != after {
		return row, fmt.Errorf("the sweeps wrote %d rows of the fleet or its history, want none", after-before)
	}
	return measured.fleetRow("sweep", registered), nil
}

// skipHold makes the store sweep at once, without the hold after the start of the service. It waits until the server has
// written the row that says how long the service has been available.
func (t *target) skipHold(ctx context.Context) error {
	for {
		done, err := t.db.ExecContext(ctx, `UPDATE checker_state SET serviceable_since = serviceable_since - interval '1 day'`)
		if err != nil {
			return err
		}
		if rows, err := done.RowsAffected(); err != nil || rows > 0 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (b *bench) measureListing(t *target, registered int) (row Row, err error) {
	token, err := b.auth.Token("bench", map[string]any{"scope": "gc:read"})
	if err != nil {
		return row, err
	}
	conns, err := connect(t.address, 1)
	if err != nil {
		return row, err
	}
	defer closeAll(conns)
	client := fleetpb.NewFleetServiceClient(conns[0])
	ctx := metadata.AppendToOutgoingContext(b.ctx, "authorization", "Bearer "+token)

	var measured loadResult
	listed := 0
	for nextPage := ""; ; {
		startedAt := time.Now()
		page, err := client.ListControllers(ctx, &fleetpb.ListControllersRequest{PageSize: pageSize, PageToken: nextPage})
		if err != nil {
			return row, err
		}

		measured.latencies = append(measured.latencies, time.Since(startedAt))
		listed += len(page.GetControllers())
		nextPage = page.GetNextPageToken()
		if nextPage == "" {
			break
		}
	}

	if listed != registered {
		return row, fmt.Errorf("%d controllers are listed, want %d", listed, registered)
	}
	return measured.fleetRow("listing", registered), nil
}

func (r loadResult) fleetRow(server string, registered int) Row {
	slices.Sort(r.latencies)
	row := Row{Part: "growth", Server: server, Callers: 1, Connections: 1, Controllers: registered, Run: 1}
	row.setLatencies(r)
	return row
}

// writtenRows returns how many rows of the fleet and its history were ever written.
func (t *target) writtenRows(ctx context.Context) (rows int64, err error) {
	time.Sleep(1500 * time.Millisecond) // PostgreSQL's connections report their statistics once a second.
	err = t.db.GetContext(ctx, &rows, `SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint
		FROM pg_stat_user_tables WHERE relname IN ('meeting_controllers', 'controller_transitions')`)
	return rows, err
}
