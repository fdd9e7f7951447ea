package modeltest

import (
	"fmt"
	"time"
)

// policy is the model of the state by which the store decides: the replicas' settings, as their beats wrote them, and the outages that the
// beats show. Times are database times unless their comment says otherwise.
type policy struct {
	rows    map[string]settingsRow
	hasBeat bool // A beat that vouched was committed.

	beatAt           int64 // of the last beat that vouched
	serviceableSince int64 // end of the last gap between such beats
	gapBeganAt       int64
	excused          map[string]int64 // controllers whose heartbeats failed, and when a beat recorded it

	// The settings of the last sweep, and the true time since which they apply.
	threshold, fast, changedAt int64
}

type settingsRow struct{ threshold, fast, seenAt int64 }

func newPolicy() policy { return policy{rows: map[string]settingsRow{}, excused: map[string]int64{}} }

// recordBeat records a committed beat of a replica, and reports whether it ends a gap.
func (p *policy) recordBeat(r *replica, vouches bool, clock int64) (isGap bool) {
	// If a replica restarts with a shorter threshold, the store keeps the longer one for the controllers that it acknowledged before.
	if former, ok := p.rows[r.id]; ok && former.threshold > r.Threshold.Milliseconds() {
		p.rows[fmt.Sprint(r.id, "/", former.threshold)] = former
	}
	p.rows[r.id] = settingsRow{threshold: r.Threshold.Milliseconds(), fast: r.Fast.Milliseconds(), seenAt: clock}
	if !vouches {
		return false
	}

	pause := clock - p.beatAt
	isGap = !p.hasBeat || pause > toleranceMs || pause < -toleranceMs
	if isGap {
		p.serviceableSince, p.gapBeganAt = clock, p.beatAt
	}
	p.hasBeat, p.beatAt = true, clock
	return isGap
}

// updateLaxest sets the settings of a sweep: the laxest of the replicas whose settings still count, and of the replica that sweeps.
func (p *policy) updateLaxest(r *replica, clock, now int64) {
	threshold, fast := r.Threshold.Milliseconds(), r.Fast.Milliseconds()
	for _, row := range p.rows {
		isInUse := clock-row.seenAt <= row.threshold
		wasInUseBeforeGap := clock-p.serviceableSince <= row.threshold && p.gapBeganAt-row.seenAt <= row.threshold
		if isInUse || wasInUseBeforeGap {
			threshold, fast = max(threshold, row.threshold), max(fast, row.fast)
		}
	}
	if threshold != p.threshold || fast != p.fast {
		p.threshold, p.fast, p.changedAt = threshold, fast, now
	}
}

// limit returns the longest silence of a controller that does not make it stale.
func (p *policy) limit(c *controller) int64 {
	if c.givenFast > p.fast {
		return max(p.threshold, c.givenThreshold)
	}
	return p.threshold
}

// isFresh reports whether the last beat is recent enough to show that heartbeats can be committed.
func (p *policy) isFresh(clock int64) bool {
	return p.hasBeat && clock-p.beatAt <= toleranceMs && p.beatAt-clock <= toleranceMs
}

// mustMark reports whether a sweep must mark a controller stale. Its heartbeat is older than its limit, or that far in the future because
// the clock was set back. Outages have ended at least one limit ago, and no recent failed heartbeat excuses the controller.
func (p *policy) mustMark(c *controller, clock int64) bool {
	if !c.isPresent || c.isStale {
		return false
	}
	limit := p.limit(c)
	isRecent := clock-c.lastHeartbeat <= limit && c.lastHeartbeat-clock <= limit
	if isRecent || clock-p.serviceableSince < limit {
		return false
	}
	failedAt, isExcused := p.excused[c.id]
	return !isExcused || failedAt < clock-limit || failedAt > clock+toleranceMs
}

// silence returns the silence that a mark records: it starts no earlier than the end of the last outage.
func (p *policy) silence(c *controller, clock int64) time.Duration {
	from := c.lastHeartbeat
	if from < p.serviceableSince || from > clock {
		from = p.serviceableSince
	}
	return time.Duration(clock-from) * time.Millisecond
}
