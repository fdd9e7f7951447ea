package fleetsim

import (
	"context"
	"fmt"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// Steady is how much the fleet calls while nothing happens.
type Steady struct {
	Rate   float64 // heartbeats per second
	Counts Counts
}

// Settle starts the fleet, waits until all of it is healthy and the checker at work, and returns the steady rate.
func (w *World) Settle(ctx context.Context) (Steady, error) {
	w.Phase("%d controllers start within %s", len(w.Fleet.MCs), short(w.opts.Ramp))
	if err := w.Fleet.Begin(ctx, w.Fleet.MCs, w.opts.Ramp); err != nil {
		return Steady{}, err
	}
	if err := w.AwaitHealthy(ctx); err != nil {
		return Steady{}, err
	}
	// A Global Controller that has just started calls nobody stale before a threshold is over.
	if hold := time.Until(w.gcBegan.Add(w.Timing.Threshold + time.Second)); w.GC != nil && hold > 0 {
		w.Phase("the checker begins in %s", short(hold))
		if err := w.Wait(ctx, hold); err != nil {
			return Steady{}, err
		}
	}
	return w.Measure(ctx)
}

// Measure returns the rate over a while in which nothing happens.
func (w *World) Measure(ctx context.Context) (Steady, error) {
	span := max(w.opts.Duration, w.Timing.steady())
	w.Phase("steady for %s", short(span))
	from := time.Now()
	if err := w.Wait(ctx, span); err != nil {
		return Steady{}, err
	}
	counts := w.Series.Between(from, time.Now())
	return Steady{Rate: counts.Rate(), Counts: counts}, nil
}

// AwaitHealthy waits until everybody who runs is healthy; an error when that takes far too long.
func (w *World) AwaitHealthy(ctx context.Context) error {
	missing, err := w.awaitHealthy(ctx, w.opts.Ramp+3*w.Timing.heard())
	if err != nil || len(missing) == 0 {
		return err
	}
	calls := w.Series.Between(w.began, time.Now())
	return fmt.Errorf("%d of %d controllers do not become healthy%s; %d of %d calls failed%s",
		len(missing), len(w.Fleet.MCs), examples(missing), calls.Failed(), calls.Calls(), codesOf(calls))
}

// awaitHealthy waits until everybody who runs is healthy, and names those who are not in time. It asks for the fleet
// itself, and not for its history, which has a promise of its own.
func (w *World) awaitHealthy(ctx context.Context, d time.Duration) (missing []string, err error) {
	for deadline := time.Now().Add(d); ; {
		fleet, err := w.History.Fleet(ctx)
		missing = nil
		for _, mc := range w.Fleet.MCs {
			if mc.Running() && fleet[mc.ID].GetHealth() != pb.Health_HEALTH_HEALTHY {
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

// MarkAll has FirstAck of the whole fleet count from a time.
func (w *World) MarkAll(at time.Time) {
	for _, mc := range w.Fleet.MCs {
		mc.Mark(at)
	}
}

// Silence notes that nobody can be heard, while it is true, and then that everybody can be again.
func (w *World) Silence(silent bool) {
	for _, mc := range w.Fleet.MCs {
		if silent {
			mc.Silenced()
		} else {
			mc.Heard()
		}
	}
}
