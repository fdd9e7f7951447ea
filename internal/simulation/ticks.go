package simulation

import (
	"context"
	"fmt"
	"time"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/service"
)

// beatOf is a replica's ticker.
func (w *World) beatOf(r *replica) error {
	r.nextBeat += int64(health.BeatInterval / time.Millisecond)
	if w.rarely(slowTicks) {
		w.promises.disturbed = w.now
		if w.dice.IntN(2) == 0 {
			w.note("%s misses a tick", r.id)
			return nil
		}
		r.nextBeat += w.dice.Int64N(3000)
		w.note("%s is slow", r.id)
	}
	return w.pass(r)
}

// sweepOf is a replica's timer for the next sweep.
func (w *World) sweepOf(r *replica) error {
	r.nextSweep = 0
	return w.pass(r)
}

// failureMemory is how long, in milliseconds, a replica whose last heartbeat failed does not vouch for the service.
const failureMemory = 10_000

// pass lets a checker do its work, and judges it.
func (w *World) pass(r *replica) error {
	r.begin()
	if r.accepted {
		r.accepted, r.failedAt = false, 0
	}
	mute := r.failedAt != 0 && w.now-r.failedAt <= failureMemory
	next, known := r.checker.Pass(context.Background())
	if r.ticked == mute {
		return fmt.Errorf("%s ticked: %v, want %v: since its last heartbeat failed %d ms have passed", r.id, r.ticked, !mute, w.now-r.failedAt)
	}
	if known {
		r.nextSweep = w.now + next.Milliseconds()
	}
	switch {
	case !r.ticked:
		w.promises.disturbed = w.now
		w.note("%s does not tick", r.id)
		return nil
	case r.tickErr != nil:
		w.promises.disturbed = w.now
		w.note("%s fails to tick", r.id)
		if r.faults == 0 {
			return fmt.Errorf("the store failed by itself: %w", r.tickErr)
		}
		return w.judgeLostTick(r)
	}
	w.note("%s ticks: swept %v, hold %v, gap %v", r.id, r.tick.Swept, r.tick.Hold, r.tick.Gap)
	return w.judgeTick(r)
}

// judgeTick: a sweep marks everybody who is silent and nobody else, and may mark at all only while that is safe. Nobody
// is left unmarked for too long.
func (w *World) judgeTick(r *replica) error {
	w.promises.ticked(w.now, w.clock())
	var want []service.Transition
	sweeps := r.tick.Swept && !r.tick.Hold
	if sweeps {
		for _, c := range w.fleet {
			if w.promises.silent(c.record, w.clock()) {
				if err := w.fallSilent(r, c, &want); err != nil {
					return err
				}
			}
		}
	}
	if len(r.tick.Transitions) != len(want) {
		return fmt.Errorf("the sweep changed\n    %+v, want\n    %+v", r.tick.Transitions, want)
	}
	for i, t := range r.tick.Transitions {
		if !alike(t, want[i]) {
			return fmt.Errorf("the sweep changed\n    %+v, want\n    %+v", t, want[i])
		}
	}
	for _, c := range w.fleet {
		if w.promises.overdue(c.record, w.now, w.clock()) {
			return fmt.Errorf("liveness: %s has been silent for %d ms of service and is not stale: %+v", c.id, w.clock()-max(c.heard, w.promises.steadySince), c.record)
		}
	}
	if sweeps {
		return w.checkFleet()
	}
	return nil
}

// judgeLostTick: nothing was answered, so who was silent may have been marked.
func (w *World) judgeLostTick(r *replica) error {
	seen, err := w.lookAtFleet()
	if err != nil {
		return err
	}
	for i, c := range w.fleet {
		marked := c.record
		marked.stale = true
		if seen[i] == marked && w.promises.silent(c.record, w.clock()) {
			if err := w.fallSilent(r, c, nil); err != nil {
				return err
			}
		}
	}
	return w.checkFleet()
}

func (w *World) fallSilent(r *replica, c *controller, changes *[]service.Transition) error {
	if why := w.promises.unsafe(c, w.now); why != "" {
		return fmt.Errorf("safety: %s is called stale though %s (last heard %d ms ago, last outage over %d ms ago)", c.id, why, w.now-c.heardAt, w.now-w.promises.outageEnded)
	}
	next := c.record
	next.stale = true
	t := change(c.id, c.record, next, service.CauseStale, r.id, w.clock())
	w.expect(t)
	if t != nil && changes != nil {
		*changes = append(*changes, *t)
	}
	w.note("%s is stale", c.id)
	c.become(next, w.now)
	return nil
}
