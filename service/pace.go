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

// Pace spreads a fleet that comes all at once: after an outage, or because every connection was cut together. While it
// sees a herd it gives each controller a time of its own for its next heartbeat, so that from the next interval on they
// come evenly. Its methods are safe for concurrent use.
type Pace struct {
	interval time.Duration
	now      func() time.Time

	mu     sync.Mutex
	until  time.Time // A herd until then.
	second time.Time // When the second that is being counted began.
	count  float64   // Of that second.
	mean   float64   // Per second, over about an interval.
}

// NewPace returns a pace for heartbeats that come each interval, by the clock now. Who has only just started does not
// know what an average second brings, so the first interval counts as a herd.
func NewPace(interval time.Duration, now func() time.Time) *Pace {
	began := now()
	return &Pace{interval: interval, now: now, second: began, until: began.Add(interval)}
}

// Heard is told of an acknowledged heartbeat. It returns how long the next one is to wait, 0 for the usual interval.
func (p *Pace) Heard() time.Duration {
	if !p.herd() {
		return 0
	}
	return p.spread()
}

// Registered is told of a registration. It returns how long the first heartbeat is to wait, 0 for not at all.
func (p *Pace) Registered() time.Duration {
	if !p.herd() {
		return 0
	}
	return max(time.Millisecond, p.between(0, p.interval))
}

// Failed is told that something could not be stored, and returns how long its caller is to wait. Whoever comes back
// from an outage is a herd.
func (p *Pace) Failed() time.Duration {
	p.mu.Lock()
	p.until = p.now().Add(p.interval)
	p.mu.Unlock()
	return p.spread()
}

// spread is as long as the interval on average, and evenly distributed over the length of one: what comes together is
// then spread over a whole interval. It is at most half the staleness threshold, which allows three intervals.
func (p *Pace) spread() time.Duration { return p.between(p.interval/2, p.interval*3/2) }

func (p *Pace) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + rand.N(to-from) //nolint:gosec // Spreads load; no secret.
}

// herd counts one more and tells whether it is one of too many.
func (p *Pace) herd() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if elapsed := now.Sub(p.second); elapsed >= time.Second || elapsed < 0 {
		p.fold(elapsed)
		p.second, p.count = now, 0
	}
	p.count++
	if p.count > smallHerd && p.count > herdFactor*p.mean {
		p.until = now.Add(time.Second)
	}
	return now.Before(p.until)
}

// fold takes what was counted into the mean, which forgets over about an interval.
func (p *Pace) fold(elapsed time.Duration) {
	seconds := elapsed.Seconds()
	if seconds < 1 {
		return // The clock was set back.
	}
	weight := min(1, seconds/max(1, p.interval.Seconds()))
	p.mean += weight * (p.count/seconds - p.mean)
}
