package service

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// herdFactor is how many times what comes in an average second makes a herd of a second's heartbeats.
	herdFactor = 2
	// smallHerd is what any machine takes in a second without noticing.
	smallHerd = 20
)

// LoadSpreader spreads a fleet that comes all at once: after an outage, or because every connection was cut together. While it
// sees a herd it gives each controller a time of its own for its next heartbeat, so that from the next interval on they
// come evenly. Its methods are safe for concurrent use.
type LoadSpreader struct {
	interval time.Duration
	now      func() time.Time

	mu            sync.Mutex
	recoveryUntil time.Time // After an outage until then: whoever is heard is one of a herd.
	burstUntil    time.Time // Too many at once until then.
	total         rateEWMA  // Registrations and heartbeats.
	registrations rateEWMA  // Registrations alone: of a fleet that stays there are next to none.
}

// rateEWMA counts by the second, and knows what is usual.
type rateEWMA struct {
	second time.Time // When the second that is being counted began.
	count  float64   // Of that second.
	mean   float64   // Per second, over about an interval.
}

// NewLoadSpreader returns a pace for heartbeats that come each interval, by the clock now. Who has only just started expects
// nobody, so whatever fleet comes to it is a herd unless it is a small one.
func NewLoadSpreader(interval time.Duration, now func() time.Time) *LoadSpreader {
	return &LoadSpreader{interval: interval, now: now, total: rateEWMA{second: now()}, registrations: rateEWMA{second: now()}}
}

// DelayAfterHeartbeat is told of an acknowledged heartbeat. It returns how long the next one is to wait, 0 for the usual interval.
func (p *LoadSpreader) DelayAfterHeartbeat() time.Duration {
	p.mu.Lock()
	now := p.countOne()
	herd := now.Before(p.burstUntil) || now.Before(p.recoveryUntil)
	p.mu.Unlock()
	if !herd {
		return 0
	}
	return p.spread()
}

// DelayAfterRegistration is told of a registration. It returns how long the first heartbeat is to wait, 0 for not at all.
func (p *LoadSpreader) DelayAfterRegistration() time.Duration {
	p.mu.Lock()
	now := p.countOne()
	if p.registrations.add(now, p.interval) {
		p.burstUntil = now.Add(time.Second)
	}
	herd := now.Before(p.burstUntil)
	p.mu.Unlock()
	if !herd {
		return 0
	}
	return max(time.Millisecond, p.between(0, p.interval))
}

// DelayAfterFailure is told that something could not be stored, and returns how long its caller is to wait. Whoever comes back
// from an outage is a herd.
func (p *LoadSpreader) DelayAfterFailure() time.Duration {
	p.mu.Lock()
	p.recoveryUntil = p.now().Add(p.interval)
	p.mu.Unlock()
	return p.spread()
}

// spread is as long as the interval on average, and evenly distributed over the length of one: what comes together is
// then spread over a whole interval. It is at most half the staleness threshold, which allows three intervals.
func (p *LoadSpreader) spread() time.Duration { return p.between(p.interval/2, p.interval*3/2) }

func (p *LoadSpreader) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + rand.N(to-from) //nolint:gosec // Spreads load; no secret.
}

// countOne counts one more, and returns when it came. The lock is held.
func (p *LoadSpreader) countOne() time.Time {
	now := p.now()
	if p.total.add(now, p.interval) {
		p.burstUntil = now.Add(time.Second)
	}
	return now
}

// add counts one more, and tells whether there are too many in this second.
func (c *rateEWMA) add(now time.Time, interval time.Duration) bool {
	if elapsed := now.Sub(c.second); elapsed >= time.Second || elapsed < 0 {
		c.updateMean(elapsed, interval)
		c.second, c.count = now, 0
	}
	c.count++
	return c.count > smallHerd && c.count > herdFactor*c.mean
}

// updateMean takes what was counted into the mean, which forgets over about an interval.
func (c *rateEWMA) updateMean(elapsed, interval time.Duration) {
	seconds := elapsed.Seconds()
	if seconds < 1 {
		return // The clock was set back.
	}
	weight := min(1, seconds/max(1, interval.Seconds()))
	c.mean += weight * (c.count/seconds - c.mean)
}
