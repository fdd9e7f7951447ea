package simulate

import (
	"context"
	"errors"
	"fmt"
	"time"
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
	span := max(w.opts.Duration, 4*w.Timing.Fast)
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
	var missing []string
	if w.Until(ctx, w.opts.Ramp+3*w.Timing.heard(), func() bool {
		missing = w.notHealthy(w.Fleet.MCs)
		return len(missing) == 0
	}) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.History.Sync(ctx); err != nil {
		return err
	}
	failed := w.Series.Between(w.began, time.Now())
	return errors.Join(fmt.Errorf("%d of %d controllers do not become healthy, such as %s; calls ended with %v", len(missing), len(w.Fleet.MCs), missing[0], failed.Codes), ctx.Err())
}

// notHealthy names the controllers that run and are not known to be healthy.
func (w *World) notHealthy(mcs []*MC) (ids []string) {
	for _, mc := range mcs {
		if mc.Running() && w.History.State(mc.ID) != "healthy" {
			ids = append(ids, mc.ID)
		}
	}
	return ids
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
