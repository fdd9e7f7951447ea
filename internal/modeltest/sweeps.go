package modeltest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/service"
)

// onBeatTimer runs when a replica's beat is due.
func (env *Environment) onBeatTimer(r *replica) error {
	r.nextBeat += int64(health.BeatInterval / time.Millisecond)
	if env.oneIn(slowBeatOdds) {
		env.guarantees.disturbedAt = env.now
		if env.rng.IntN(2) == 0 {
			env.note("%s misses a beat", r.id)
			return nil
		}
		r.nextBeat += env.rng.Int64N(3000)
		env.note("%s beats late next time", r.id)
	}

	if err := env.beatAndCheck(r); err != nil {
		return err
	}
	return env.sweepIfDue(r)
}

// onSweepTimer runs when a replica's sweep timer fires.
func (env *Environment) onSweepTimer(r *replica) error {
	r.nextSweep = 0
	return env.sweepIfDue(r)
}

// beatAndCheck runs a checker's beat and checks it: the beat vouches if and only if the model of the heartbeats and of the clock allows it.
func (env *Environment) beatAndCheck(r *replica) error {
	r.resetObservations()
	vouches := r.vouchModel.canVouch(env.now) && r.wall.canVouch(env.now)
	r.checker.Beat(context.Background())
	hasFailed := r.beatErr != nil

	if !hasFailed && r.lastBeat.Vouches != vouches {
		return fmt.Errorf("%s vouches: %v, want %v: its clock is %d ms ahead, %+v",
			r.id, r.lastBeat.Vouches, vouches, r.wall.offset, *r.vouchModel)
	}

	if err := r.checkExcuses(); err != nil {
		return err
	}
	if r.isBeatCommitted {
		if err := env.recordCommittedBeat(r, vouches); err != nil {
			return err
		}
	}

	r.hasVouched = vouches && !hasFailed
	switch {
	case hasFailed:
		env.guarantees.disturbedAt = env.now
		env.note("the beat of %s fails", r.id)
		if r.faults == 0 {
			return fmt.Errorf("the store failed without a fault: %w", r.beatErr)
		}
	case !vouches:
		env.guarantees.disturbedAt = env.now
		env.note("%s does not vouch", r.id)
		clear(r.vouchModel.unrecorded)
	default:
		env.note("%s beats: gap %v, excuses %d", r.id, r.hasFoundGap, len(r.lastBeat.Failed))
		env.guarantees.recordBeat(env.now, env.databaseNow())
		clear(r.vouchModel.unrecorded)
	}
	return nil
}

// checkExcuses checks that a beat names exactly the controllers whose heartbeats failed since the last one.
func (r *replica) checkExcuses() error {
	for _, id := range r.lastBeat.Failed {
		if !r.vouchModel.unrecorded[id] {
			return fmt.Errorf("%s excuses %s, whose heartbeats did not fail", r.id, id)
		}
	}
	if len(r.lastBeat.Failed) != len(r.vouchModel.unrecorded) {
		return fmt.Errorf("%s excuses %v, want %v", r.id, r.lastBeat.Failed, r.vouchModel.unrecorded)
	}
	return nil
}

// recordCommittedBeat records a committed beat in the model, and checks whether the store found a gap before it.
func (env *Environment) recordCommittedBeat(r *replica, vouches bool) error {
	r.lastBeatAt = env.now
	if isGap := env.policy.recordBeat(r, vouches, env.databaseNow()); isGap != r.hasFoundGap {
		return fmt.Errorf("the beat of %s found a gap: %v, want %v", r.id, r.hasFoundGap, isGap)
	}
	for id := range r.vouchModel.unrecorded {
		if env.controller(id).isPresent {
			env.policy.excused[id] = env.databaseNow()
		}
	}
	return nil
}

// sweepIfDue runs a checker's sweep, if one is due, and checks it.
func (env *Environment) sweepIfDue(r *replica) error {
	r.resetObservations()
	next, isKnown := r.checker.Sweep(context.Background())
	if r.hasSweepResult != r.hasVouched {
		return fmt.Errorf("%s sweeps: %v, want %v", r.id, r.hasSweepResult, r.hasVouched)
	}
	if isKnown {
		r.nextSweep = env.now + next.Milliseconds()
	}

	switch {
	case !r.hasSweepResult:
		return nil
	case r.sweepErr != nil:
		env.guarantees.disturbedAt = env.now
		env.note("the sweep of %s fails", r.id)
		if r.faults == 0 {
			return fmt.Errorf("the store failed without a fault: %w", r.sweepErr)
		}
		env.policy.updateLaxest(r, env.databaseNow(), env.now)
		return env.checkLostSweep(r)
	}

	if !env.policy.isFresh(env.databaseNow()) {
		env.guarantees.disturbedAt = env.now
	}
	env.note("%s sweeps: swept %v, hold %v", r.id, r.sweepResult.Swept, r.sweepResult.Hold)
	env.policy.updateLaxest(r, env.databaseNow(), env.now)
	return env.checkSweep(r)
}

// checkSweep checks that a sweep marks exactly the controllers that it must mark, and only while that is safe. It also checks that no
// controller is overdue.
func (env *Environment) checkSweep(r *replica) error {
	var want []service.Transition
	hasSwept := r.sweepResult.Swept && !r.sweepResult.Hold
	if hasSwept {
		if !env.policy.isFresh(env.databaseNow()) {
			return fmt.Errorf("%s sweeps although the last beat is %d ms old", r.id, env.databaseNow()-env.policy.beatAt)
		}
		for _, c := range env.fleet {
			if env.policy.mustMark(c, env.databaseNow()) {
				if err := env.markStale(r, c, &want); err != nil {
					return err
				}
			}
		}
	}

	if len(r.sweepResult.Transitions) != len(want) {
		return fmt.Errorf("the sweep made\n    %+v, want\n    %+v", r.sweepResult.Transitions, want)
	}
	for i, t := range r.sweepResult.Transitions {
		if !isSameTransition(t, want[i]) {
			return fmt.Errorf("the sweep made\n    %+v, want\n    %+v", t, want[i])
		}
	}

	for _, c := range env.fleet {
		if env.isOverdue(c) {
			silence := env.databaseNow() - max(c.lastHeartbeat, env.guarantees.steadySince)
			return fmt.Errorf("liveness: %s sent no heartbeat for %d ms without an outage and is not stale: %+v", c.id, silence, c.record)
		}
	}

	if hasSwept {
		return env.checkFleet()
	}
	return nil
}

// checkLostSweep checks a sweep that failed: each controller that it would mark may be marked or not.
func (env *Environment) checkLostSweep(r *replica) error {
	seen, err := env.readFleet()
	if err != nil {
		return err
	}
	for i, c := range env.fleet {
		marked := c.record
		marked.isStale = true
		if seen[i] == marked && env.policy.mustMark(c, env.databaseNow()) {
			if err := env.markStale(r, c, nil); err != nil {
				return err
			}
		}
	}
	return env.checkFleet()
}

// markStale marks a controller stale in the model, appends the transition to made unless that is nil, and checks that the mark is safe.
func (env *Environment) markStale(r *replica, c *controller, made *[]service.Transition) error {
	if why := env.guarantees.safetyViolation(c, env.now); why != "" {
		return fmt.Errorf("safety: %s is marked stale although %s (last heartbeat %d ms ago, end of the last outage %d ms ago)",
			c.id, why, env.now-c.lastHeartbeatAt, env.now-env.guarantees.outageEnded)
	}

	next := c.record
	next.isStale = true
	t := expectedTransition(c.id, c.record, next, service.CauseStale, r.id, env.databaseNow())
	t.Silence = env.policy.silence(c, env.databaseNow())
	env.expectTransition(t)
	if made != nil {
		*made = append(*made, *t)
	}
	env.note("%s is marked stale", c.id)
	c.setRecord(next, env.now)
	return nil
}

const (
	// pruneIntervalMs is the time between the prunings of a replica.
	pruneIntervalMs = 7_000
	// retireThresholds is the silence after which a stale controller is retired, in thresholds.
	retireThresholds = 3
)

// onPruneTimer runs a replica's pruning. It must retire exactly the controllers that have been stale for long, and none during an outage or
// within a threshold after it.
func (env *Environment) onPruneTimer(r *replica) error {
	r.nextPrune += pruneIntervalMs
	r.resetObservations()
	if !r.hasVouched {
		return nil
	}

	limit := retireThresholds * env.threshold
	result, err := faultyStore{r.store, r}.Prune(context.Background(), service.RetentionPolicy{
		Stale:     time.Duration(limit) * time.Millisecond,
		Threshold: r.Threshold,
		Tolerance: health.Tolerance,
		Actor:     r.id,
	})
	env.policy.updateLaxest(r, env.databaseNow(), env.now)
	isAllowed := env.policy.isFresh(env.databaseNow()) && env.databaseNow()-env.policy.serviceableSince >= env.policy.threshold
	seen, readErr := env.readFleet()
	if readErr != nil {
		return readErr
	}

	var want []service.Transition
	for i, c := range env.fleet {
		if !c.isPresent || !c.isStale || c.drain.isDraining || env.databaseNow()-c.lastHeartbeat <= limit || !isAllowed {
			continue
		}
		if err != nil && seen[i].isPresent {
			continue // The pruning failed before it retired this controller.
		}
		t := expectedTransition(c.id, c.record, record{}, service.CauseRetired, r.id, env.databaseNow())
		env.expectTransition(t)
		want = append(want, *t)
		c.setRecord(record{}, env.now)
		c.givenFast, c.givenThreshold = 0, 0
		env.note("%s is retired by %s", c.id, r.id)
	}

	switch {
	case err != nil && r.faults == 0:
		return fmt.Errorf("the store failed without a fault: %w", err)
	case err == nil && !slices.EqualFunc(result.Retired, want, isSameTransition):
		return fmt.Errorf("%s retired\n    %+v, want\n    %+v", r.id, result.Retired, want)
	}
	return env.checkFleet()
}
