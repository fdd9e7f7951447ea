package fleetsim

import (
	"context"
	"fmt"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// SteadyLoad is the load of a fleet without faults.
type SteadyLoad struct {
	Rate   float64 // heartbeats per second
	Counts Counts
}

// StartFleet starts the fleet, waits until all controllers are healthy and the staleness sweep is active, and measures the
// steady load.
func (e *Environment) StartFleet(ctx context.Context) (SteadyLoad, error) {
	e.SetPhase("starting %d controllers within %s", len(e.Fleet.Controllers), formatDuration(e.opts.Ramp))
	if err := e.Fleet.Start(ctx, e.Fleet.Controllers, e.opts.Ramp); err != nil {
		return SteadyLoad{}, err
	}
	if err := e.AwaitHealthy(ctx); err != nil {
		return SteadyLoad{}, err
	}

	// A Global Controller marks no controller stale until one threshold after its start.
	wait := time.Until(e.gcStartedAt.Add(e.Timing.Threshold + time.Second))
	if e.GlobalController != nil && wait > 0 {
		e.SetPhase("waiting %s until the staleness sweep is active", formatDuration(wait))
		if err := e.Wait(ctx, wait); err != nil {
			return SteadyLoad{}, err
		}
	}
	return e.MeasureSteadyLoad(ctx)
}

// MeasureSteadyLoad measures the load for a while without faults.
func (e *Environment) MeasureSteadyLoad(ctx context.Context) (SteadyLoad, error) {
	span := max(e.opts.Duration, e.Timing.steadySpan())
	e.SetPhase("steady for %s", formatDuration(span))
	from := time.Now()
	if err := e.Wait(ctx, span); err != nil {
		return SteadyLoad{}, err
	}
	counts := e.Series.CountsBetween(from, time.Now())
	return SteadyLoad{Rate: counts.Rate(), Counts: counts}, nil
}

// AwaitHealthy waits until all running controllers are healthy. It returns an error if that takes much longer than expected.
func (e *Environment) AwaitHealthy(ctx context.Context) error {
	missing, err := e.awaitHealthyFor(ctx, e.opts.Ramp+3*e.Timing.heartbeatLimit())
	if err != nil || len(missing) == 0 {
		return err
	}
	calls := e.Series.CountsBetween(e.startedAt, time.Now())
	return fmt.Errorf("%d of %d controllers do not become healthy%s; %d of %d calls failed%s",
		len(missing), len(e.Fleet.Controllers), formatExamples(missing), calls.Failed(), calls.Calls(), formatCodes(calls))
}

// awaitHealthyFor waits until all running controllers are healthy, and returns those that are not after the timeout. It lists
// the fleet instead of using the history, which has a check of its own.
func (e *Environment) awaitHealthyFor(ctx context.Context, timeout time.Duration) (missing []string, err error) {
	for deadline := time.Now().Add(timeout); ; {
		controllers, err := e.History.ListControllers(ctx)
		missing = nil
		for _, mc := range e.Fleet.Controllers {
			if mc.IsRunning() && controllers[mc.ID].GetHealth() != pb.Health_HEALTH_HEALTHY {
				missing = append(missing, mc.ID)
			}
		}

		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil && len(missing) == 0, time.Now().After(deadline):
			return missing, err
		}
		pause(ctx, followInterval)
	}
}

// ResetFirstAcks makes FirstAck of all controllers count from a time.
func (e *Environment) ResetFirstAcks(since time.Time) {
	for _, mc := range e.Fleet.Controllers {
		mc.ResetFirstAck(since)
	}
}

// BeginHeartbeatPause records that from now on no heartbeat of the fleet can arrive.
func (e *Environment) BeginHeartbeatPause() {
	for _, mc := range e.Fleet.Controllers {
		mc.BeginHeartbeatPause()
	}
}

// EndHeartbeatPause ends what BeginHeartbeatPause began.
func (e *Environment) EndHeartbeatPause() {
	for _, mc := range e.Fleet.Controllers {
		mc.EndHeartbeatPause()
	}
}

// countRunning counts the controllers with a running process.
func (e *Environment) countRunning() (n int) {
	for _, mc := range e.Fleet.Controllers {
		if mc.IsRunning() {
			n++
		}
	}
	return n
}

// countRenewedSince counts the controllers that have used a new token since a time.
func (e *Environment) countRenewedSince(at time.Time) (n int) {
	for _, mc := range e.Fleet.Controllers {
		if mc.tokens.RenewedAt().After(at) {
			n++
		}
	}
	return n
}
