package modeltest

import (
	"time"

	"darktower.example/global-controller/pkg/health"
)

const (
	intervalMs  = int64(interval / time.Millisecond)
	toleranceMs = int64(health.Tolerance / time.Millisecond)
	// steadyMs is how far apart two beats may lie so that the time between them is no outage.
	steadyMs = toleranceMs
	// never is before any time.
	never = -1 << 60
)

// promises keeps, from outside, what safety and liveness are judged by. Times are the world's unless they say otherwise.
type promises struct {
	threshold int64
	// downSince is when heartbeats could no longer be committed, by both clocks; meaningful while down.
	down              bool
	downSince, downDB int64
	// outageEnded is when the last outage that was longer than the tolerance ended.
	outageEnded int64
	// steadySince is the first of an unbroken row of acknowledged ticks, and lastTick its last; by the database's clock and
	// by the world's.
	steadySince, lastTick int64
	// disturbed is when a tick was last late, missed, refused or lost, or a replica came or went.
	disturbed int64
	// steps are how the database's clock was set, the latest last.
	steps []step
}

type step struct{ at, by int64 }

func newPromises(threshold, now int64) promises {
	return promises{threshold: threshold, outageEnded: now, steadySince: never, lastTick: never, disturbed: now}
}

// serviceable is told after each step whether a heartbeat could be committed.
func (p *promises) serviceable(can bool, now, clock int64) {
	switch {
	case !can && !p.down:
		p.down, p.downSince, p.downDB = true, now, clock
	case can && p.down:
		p.down = false
		// A clock that is set while nobody can look hides an outage, or makes it longer: nothing is promised of it.
		if clock-p.downDB > toleranceMs && !p.stepped(p.downSince-2*toleranceMs) {
			p.outageEnded = now
		}
	}
}

// clockSet is told that the database's clock was set.
func (p *promises) clockSet(now, by int64) {
	p.steps = append(p.steps, step{now, by})
	if now-p.outageEnded < 2*toleranceMs {
		p.outageEnded = never
	}
	p.steadySince, p.lastTick, p.disturbed = never, never, now
}

func (p *promises) stepped(since int64) bool {
	return len(p.steps) > 0 && p.steps[len(p.steps)-1].at >= since
}

// hurried is by how much the database's clock ran ahead of the world's without anybody noticing.
func (p *promises) hurried(since int64) (by int64) {
	for _, s := range p.steps {
		if s.at >= since && s.by > 0 && s.by <= toleranceMs {
			by += s.by
		}
	}
	return by
}

// ticked is told of an acknowledged tick.
func (p *promises) ticked(now, clock int64) {
	if p.steadySince == never || now-p.lastTick > steadyMs {
		p.steadySince = clock
	}
	p.lastTick = now
}

// unsafe says what forbids that the checker calls a controller stale now; empty for nothing.
func (p *promises) unsafe(c *controller, now int64) string {
	threshold := max(p.threshold, c.toldThreshold)
	switch {
	case now-c.heardAt < threshold-p.hurried(c.heardAt):
		return "its last heartbeat is within the threshold that it was given"
	case c.ackedBy != 0 && now-c.ackedBy < c.ackedThreshold-p.hurried(c.ackedBy):
		return "it was acknowledged within the threshold of the replica that did"
	case now-p.outageEnded < threshold-p.hurried(p.outageEnded):
		return "a full threshold has not passed since the outage"
	}
	return ""
}

// overdue reports whether a controller should have been called stale by now.
func (w *World) overdue(c *controller) bool {
	p, clock, limit := &w.promises, w.clock(), w.policy.limit(c)
	// The beats have a break when checkers stall, and a sweep that comes before the next beat marks no controller.
	if p.steadySince == never || w.now-p.lastTick > steadyMs {
		return false
	}
	if !w.policy.isSilent(c, clock) || w.now-w.policy.changedAt <= intervalMs+toleranceMs {
		return false
	}
	bound := limit + intervalMs
	if w.now-p.disturbed <= intervalMs+toleranceMs {
		bound += toleranceMs
	}
	since := p.steadySince
	if c.heard <= clock {
		since = max(since, c.heard)
	}
	if failedAt := w.policy.excused[c.id]; failedAt <= clock {
		since = max(since, failedAt)
	}
	return clock-since > bound
}
