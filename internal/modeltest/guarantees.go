package modeltest

import (
	"time"

	"darktower.example/global-controller/pkg/health"
)

const (
	sweepIntervalMs = int64(sweepInterval / time.Millisecond)
	// toleranceMs is the longest time between two vouching beats that does not count as an outage.
	toleranceMs = int64(health.Tolerance / time.Millisecond)
	// never is before any time.
	never = -1 << 60
)

// guarantees records what the observer needs to check safety and liveness. Times are true times unless their comment says otherwise.
type guarantees struct {
	threshold int64

	// While heartbeats cannot be committed: since when, by the true time and by the database's clock.
	isDown                 bool
	downSince, downSinceDB int64
	// outageEnded is the end of the last outage that was longer than the tolerance.
	outageEnded int64

	// An unbroken series of committed beats: the database time of the first one, and the true time of the last one.
	steadySince, lastBeat int64
	// disturbedAt is the last time at which a beat was late, missed, refused or lost, or a replica started or stopped.
	disturbedAt int64

	// clockSteps are the steps of the database's clock, latest last.
	clockSteps []clockStep
}

type clockStep struct{ at, by int64 }

func newGuarantees(threshold, now int64) guarantees {
	return guarantees{threshold: threshold, outageEnded: now, steadySince: never, lastBeat: never, disturbedAt: now}
}

// recordServiceability records after each step whether a heartbeat could be committed.
func (g *guarantees) recordServiceability(isServiceable bool, now, clock int64) {
	switch {
	case !isServiceable && !g.isDown:
		g.isDown, g.downSince, g.downSinceDB = true, now, clock

	case isServiceable && g.isDown:
		g.isDown = false
		// A clock step during an outage hides the outage or makes it longer, so there is no guarantee for such an outage.
		if clock-g.downSinceDB > toleranceMs && !g.hasClockStep(g.downSince-2*toleranceMs) {
			g.outageEnded = now
		}
	}
}

// recordClockStep records that the database's clock was set.
func (g *guarantees) recordClockStep(now, by int64) {
	g.clockSteps = append(g.clockSteps, clockStep{at: now, by: by})
	if now-g.outageEnded < 2*toleranceMs {
		g.outageEnded = never
	}
	g.steadySince, g.lastBeat = never, never
	g.disturbedAt = now
}

// hasClockStep reports whether the database's clock was set at or after a time.
func (g *guarantees) hasClockStep(since int64) bool {
	return len(g.clockSteps) > 0 && g.clockSteps[len(g.clockSteps)-1].at >= since
}

// unnoticedAdvance returns by how much the database's clock was set ahead since a time, in steps too small to count as outages.
func (g *guarantees) unnoticedAdvance(since int64) (by int64) {
	for _, s := range g.clockSteps {
		if s.at >= since && s.by > 0 && s.by <= toleranceMs {
			by += s.by
		}
	}
	return by
}

// recordBeat records a committed beat that vouched.
func (g *guarantees) recordBeat(now, clock int64) {
	if g.steadySince == never || now-g.lastBeat > toleranceMs {
		g.steadySince = clock
	}
	g.lastBeat = now
}

// safetyViolation returns why the checker must not mark a controller stale now, or an empty string if it may.
func (g *guarantees) safetyViolation(c *controller, now int64) string {
	threshold := max(g.threshold, c.givenThreshold)
	switch {
	case now-c.lastHeartbeatAt < threshold-g.unnoticedAdvance(c.lastHeartbeatAt):
		return "its last heartbeat is within the threshold that it was given"
	case c.ackedBeatAt != 0 && now-c.ackedBeatAt < c.ackedThreshold-g.unnoticedAdvance(c.ackedBeatAt):
		return "its last acknowledgement is within the threshold of the replica that sent it"
	case now-g.outageEnded < threshold-g.unnoticedAdvance(g.outageEnded):
		return "a full threshold has not passed since the outage"
	}
	return ""
}

// isOverdue reports whether a controller should have been marked stale by now.
func (env *Environment) isOverdue(c *controller) bool {
	g, clock := &env.guarantees, env.databaseNow()

	// Stalled checkers interrupt the beats, and a sweep before the next beat marks no controller.
	if g.steadySince == never || env.now-g.lastBeat > toleranceMs {
		return false
	}
	if !env.policy.mustMark(c, clock) || env.now-env.policy.changedAt <= sweepIntervalMs+toleranceMs {
		return false
	}

	limit := env.policy.limit(c) + sweepIntervalMs
	if env.now-g.disturbedAt <= sweepIntervalMs+toleranceMs {
		limit += toleranceMs
	}
	since := g.steadySince
	if c.lastHeartbeat <= clock {
		since = max(since, c.lastHeartbeat)
	}
	if failedAt := env.policy.excused[c.id]; failedAt <= clock {
		since = max(since, failedAt)
	}
	return clock-since > limit
}
