package modeltest

import (
	"fmt"
	"time"
)

// vouching is what an observer makes of a replica's heartbeats: whether it may vouch for the service, and which controllers
// its next beat excuses. Times are the world's.
type vouching struct {
	window, memory int64
	commits        int64
	failed         map[string]int64
	unrecorded     map[string]bool
	judged         []judgement // The oldest first.
}

type judgement struct{ at, commits int64 }

func newVouching(fast time.Duration) *vouching {
	return &vouching{
		window: (fast * 5 / 4).Milliseconds(), memory: (2 * fast).Milliseconds(), failed: map[string]int64{}, unrecorded: map[string]bool{},
	}
}

func (v *vouching) committed(id string) {
	v.commits++
	delete(v.failed, id)
	delete(v.unrecorded, id)
}

func (v *vouching) failedFor(id string, now int64) { v.failed[id], v.unrecorded[id] = now, true }

// unjudgedFor is a heartbeat whose token could not be judged: it counts, and excuses no controller.
func (v *vouching) unjudgedFor(id string, now int64) { v.failed[id] = now }

// judge reports whether the replica may vouch: no more controllers failed last than heartbeats were stored in the window.
func (v *vouching) judge(now int64) bool {
	v.judged = append(v.judged, judgement{now, v.commits})
	for len(v.judged) > 1 && v.judged[1].at <= now-v.window {
		v.judged = v.judged[1:]
	}
	var failing int64
	for id, at := range v.failed {
		if now-at <= v.memory {
			failing++
		} else if !v.unrecorded[id] {
			delete(v.failed, id)
		}
	}
	return failing <= v.commits-v.judged[0].commits
}

// policy is what the store goes by: the settings of replicas, as their beats wrote them, and what the beats say of outages. All
// times are the database's.
type policy struct {
	rows                       map[string]settingsRow
	beaten                     bool
	beatAt, since, gapBeganAt  int64
	excused                    map[string]int64
	threshold, fast, changedAt int64 // What the last sweep went by, and, by the world's time, since when.
}

type settingsRow struct{ threshold, fast, seenAt int64 }

func newPolicy() policy { return policy{rows: map[string]settingsRow{}, excused: map[string]int64{}} }

// beat is a committed beat of a replica.
func (p *policy) beat(r *replica, vouches bool, clock int64) (gap bool) {
	// A replica that starts again with a shorter threshold keeps the longer one for the controllers that it acknowledged before.
	if former, ok := p.rows[r.id]; ok && former.threshold > r.Threshold.Milliseconds() {
		p.rows[fmt.Sprint(r.id, "/", former.threshold)] = former
	}
	p.rows[r.id] = settingsRow{r.Threshold.Milliseconds(), r.Fast.Milliseconds(), clock}
	if !vouches {
		return false
	}
	pause := clock - p.beatAt
	if gap = !p.beaten || pause > toleranceMs || pause < -toleranceMs; gap {
		p.since, p.gapBeganAt = clock, p.beatAt
	}
	p.beaten, p.beatAt = true, clock
	return gap
}

// inUse is the laxest settings of the replicas whose controllers may go by them, and of the one that sweeps.
func (p *policy) inUse(r *replica, clock, now int64) {
	threshold, fast := r.Threshold.Milliseconds(), r.Fast.Milliseconds()
	for _, row := range p.rows {
		if clock-row.seenAt <= row.threshold || clock-p.since <= row.threshold && p.gapBeganAt-row.seenAt <= row.threshold {
			threshold, fast = max(threshold, row.threshold), max(fast, row.fast)
		}
	}
	if threshold != p.threshold || fast != p.fast {
		p.threshold, p.fast, p.changedAt = threshold, fast, now
	}
}

// limit is how long a controller may be silent.
func (p *policy) limit(c *controller) int64 {
	if c.toldFast > p.fast {
		return max(p.threshold, c.toldThreshold)
	}
	return p.threshold
}

// isFresh reports whether the last beat shows that heartbeats can be committed.
func (p *policy) isFresh(clock int64) bool {
	return p.beaten && clock-p.beatAt <= toleranceMs && p.beatAt-clock <= toleranceMs
}

// isSilent reports whether a sweep has to mark a controller: it sent nothing for longer than its limit, or its heartbeat lies in
// a future that the clock was set back from; an outage is over for as long, and none of its heartbeats failed meanwhile.
func (p *policy) isSilent(c *controller, clock int64) bool {
	limit := p.limit(c)
	if !c.present || c.stale || clock-c.heard <= limit && c.heard-clock <= limit || clock-p.since < limit {
		return false
	}
	failedAt, isExcused := p.excused[c.id]
	return !isExcused || failedAt < clock-limit || failedAt > clock+toleranceMs
}

// silence is the evidence: measured only since heartbeats could be committed, where it began before that.
func (p *policy) silence(c *controller, clock int64) time.Duration {
	from := c.heard
	if from < p.since || from > clock {
		from = p.since
	}
	return time.Duration(clock-from) * time.Millisecond
}
