package modeltest

import (
	"context"
	"fmt"
	"slices"
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
	if err := w.beatReplica(r); err != nil {
		return err
	}
	return w.pass(r)
}

// sweepOf is a replica's timer for the next sweep.
func (w *World) sweepOf(r *replica) error {
	r.nextSweep = 0
	return w.pass(r)
}

// beatReplica lets a checker beat, and judges it: a replica vouches if and only if the fleet's heartbeats and its clock say so.
func (w *World) beatReplica(r *replica) error {
	r.begin()
	vouches := r.vouching.judge(w.now) && r.wall.vouches(w.now)
	r.checker.Beat(context.Background())
	isLost := r.ticked // An error was observed.
	if !isLost && r.beat.CanAcceptHeartbeats != vouches {
		return fmt.Errorf("%s vouches: %v, want %v: its clock is %d ms ahead, %+v",
			r.id, r.beat.CanAcceptHeartbeats, vouches, r.wall.offset, *r.vouching)
	}
	for _, id := range r.beat.Failed {
		if !r.vouching.unrecorded[id] {
			return fmt.Errorf("%s excuses %s, of which no heartbeat failed", r.id, id)
		}
	}
	if len(r.beat.Failed) != len(r.vouching.unrecorded) {
		return fmt.Errorf("%s excuses %v, want %v", r.id, r.beat.Failed, r.vouching.unrecorded)
	}

	if r.beaten {
		r.seenAt = w.now
		if gap := w.policy.beat(r, vouches, w.clock()); gap != r.beatGap {
			return fmt.Errorf("the beat of %s found a gap: %v, want %v", r.id, r.beatGap, gap)
		}
		for id := range r.vouching.unrecorded {
			if w.controller(id).present {
				w.policy.excused[id] = w.clock()
			}
		}
	}
	r.vouched = vouches && !isLost
	switch {
	case isLost:
		w.promises.disturbed = w.now
		w.note("%s fails to beat", r.id)
		if r.faults == 0 {
			return fmt.Errorf("the store failed by itself: %w", r.tickErr)
		}
	case !vouches:
		w.promises.disturbed = w.now
		w.note("%s does not vouch", r.id)
		clear(r.vouching.unrecorded)
	default:
		w.note("%s beats: gap %v, excuses %d", r.id, r.beatGap, len(r.beat.Failed))
		w.promises.ticked(w.now, w.clock())
		clear(r.vouching.unrecorded)
	}
	return nil
}

// pass lets a checker sweep if that is due, and judges it.
func (w *World) pass(r *replica) error {
	r.begin()
	next, isKnown := r.checker.Sweep(context.Background())
	if r.ticked != r.vouched {
		return fmt.Errorf("%s sweeps: %v, want %v", r.id, r.ticked, r.vouched)
	}
	if isKnown {
		r.nextSweep = w.now + next.Milliseconds()
	}
	switch {
	case !r.ticked:
		return nil
	case r.tickErr != nil:
		w.promises.disturbed = w.now
		w.note("%s fails to sweep", r.id)
		if r.faults == 0 {
			return fmt.Errorf("the store failed by itself: %w", r.tickErr)
		}
		w.policy.inUse(r, w.clock(), w.now)
		return w.judgeLostTick(r)
	}
	if !w.policy.isFresh(w.clock()) {
		w.promises.disturbed = w.now
	}
	w.note("%s sweeps: swept %v, hold %v", r.id, r.tick.Swept, r.tick.Hold)
	w.policy.inUse(r, w.clock(), w.now)
	return w.judgeTick(r)
}

// judgeTick: a sweep marks every controller that is silent and no other, and may mark at all only while that is safe. None is
// left unmarked for too long.
func (w *World) judgeTick(r *replica) error {
	var want []service.Transition
	sweeps := r.tick.Swept && !r.tick.Hold
	if sweeps {
		if !w.policy.isFresh(w.clock()) {
			return fmt.Errorf("%s sweeps though the last beat is %d ms old", r.id, w.clock()-w.policy.beatAt)
		}
		for _, c := range w.fleet {
			if w.policy.isSilent(c, w.clock()) {
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
		if w.overdue(c) {
			return fmt.Errorf("liveness: %s has been silent for %d ms of service and is not stale: %+v", c.id, w.clock()-max(c.heard, w.promises.steadySince), c.record)
		}
	}
	if sweeps {
		return w.checkFleet()
	}
	return nil
}

// judgeLostTick: nothing was answered, so those that were silent may have been marked.
func (w *World) judgeLostTick(r *replica) error {
	seen, err := w.lookAtFleet()
	if err != nil {
		return err
	}
	for i, c := range w.fleet {
		marked := c.record
		marked.stale = true
		if seen[i] == marked && w.policy.isSilent(c, w.clock()) {
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
	t.Silence = w.policy.silence(c, w.clock())
	w.expect(t)
	if changes != nil {
		*changes = append(*changes, *t)
	}
	w.note("%s is stale", c.id)
	c.become(next, w.now)
	return nil
}

// removalsMs is how far apart the removals of old records are, and retireAfter how many thresholds a controller may be silent.
const (
	removalsMs  = 7_000
	retireAfter = 3
)

// removalOf is a replica's removal of controllers that have been silent for long: all of those, no other, and none while an
// outage lasts or is waited out.
func (w *World) removalOf(r *replica) error {
	r.nextRemoval += removalsMs
	r.begin()
	if !r.vouched {
		return nil
	}
	limit := retireAfter * w.threshold
	result, err := faultyStore{r.store, r}.Prune(context.Background(), service.RetentionPolicy{
		Stale: time.Duration(limit) * time.Millisecond, Threshold: r.Threshold, Tolerance: health.Tolerance, Actor: r.id,
	})
	w.policy.inUse(r, w.clock(), w.now)
	isAllowed := w.policy.isFresh(w.clock()) && w.clock()-w.policy.since >= w.policy.threshold
	seen, lookErr := w.lookAtFleet()
	if lookErr != nil {
		return lookErr
	}
	var want []service.Transition
	for i, c := range w.fleet {
		if !c.present || !c.stale || c.drain.draining || w.clock()-c.heard <= limit || !isAllowed {
			continue
		}
		if err != nil && seen[i].present {
			continue // The outage came before it.
		}
		t := change(c.id, c.record, record{}, service.CauseRetired, r.id, w.clock())
		w.expect(t)
		want = append(want, *t)
		c.become(record{}, w.now)
		c.toldFast, c.toldThreshold = 0, 0
		w.note("%s is retired by %s", c.id, r.id)
	}
	switch {
	case err != nil && r.faults == 0:
		return fmt.Errorf("the store failed by itself: %w", err)
	case err == nil && !slices.EqualFunc(result.Retired, want, alike):
		return fmt.Errorf("%s retired\n    %+v, want\n    %+v", r.id, result.Retired, want)
	}
	return w.checkFleet()
}
