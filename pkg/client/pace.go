package client

import (
	"time"
)

const (
	defaultFast          = 10 * time.Second
	defaultComprehensive = 30 * time.Second
	// What lies outside of these is no interval but a mistake.
	minInterval = 10 * time.Millisecond
	maxInterval = 24 * time.Hour
)

// pace knows when the next call is due. It is spread by chance everywhere, so that controllers that began together do
// not go on together.
type pace struct {
	random        func() float64 // In [0, 1).
	intervals     Intervals
	comprehensive time.Time // When the next comprehensive heartbeat is due.
	first         bool      // It is the first one since the registration.
	failures      int       // In a row.
}

func newPace(random func() float64) *pace {
	return &pace{random: random, intervals: Intervals{defaultFast, defaultComprehensive}}
}

// adopt takes what the Global Controller dictates, and tells whether that is new. 0 means as before.
func (p *pace) adopt(dictated Intervals) bool {
	before := p.intervals
	if dictated.Fast > 0 {
		p.intervals.Fast = min(max(dictated.Fast, minInterval), maxInterval)
	}
	if dictated.Comprehensive > 0 {
		p.intervals.Comprehensive = min(max(dictated.Comprehensive, minInterval), maxInterval)
	}
	// A comprehensive heartbeat that was to come after a long interval is not waited for once that is a short one.
	if latest := time.Now().Add(p.intervals.Comprehensive); p.intervals != before && p.comprehensive.After(latest) {
		p.comprehensive = latest
	}
	return p.intervals != before
}

// tick is the time from one heartbeat to the next.
func (p *pace) tick() time.Duration {
	return min(p.intervals.Fast, p.intervals.Comprehensive)
}

func (p *pace) registered(now time.Time) {
	p.failures, p.first, p.comprehensive = 0, true, now
}

// dueComprehensive tells whether the heartbeat that is sent now is a comprehensive one, which stands in for a fast one
// as it says all that one says. The tick that lies nearest to when it is due has it.
func (p *pace) dueComprehensive(now time.Time) bool {
	return p.comprehensive.Sub(now) <= p.tick()/2
}

func (p *pace) acknowledged(now time.Time, comprehensive bool) {
	p.failures = 0
	if !comprehensive {
		return
	}
	wait := p.intervals.Comprehensive
	if p.first {
		// The first ones of a fleet that registered together fall together; those that follow must not.
		p.first, wait = false, p.spread(wait, 0, 1)
	}
	p.comprehensive = now.Add(wait)
}

// next is how long to wait after a heartbeat that began so long ago and was acknowledged. It is measured from where it
// began, so that slow answers do not make a controller late.
func (p *pace) next(took, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return p.bounded(retryAfter)
	}
	return max(p.spread(p.tick(), 0.9, 1.1)-took, p.tick()/4)
}

// backoff is how long to wait after a call that began so long ago and failed. It reaches the interval in two steps and
// goes no further: a fleet that has lost its Global Controller then tries about as often as it would beat, at random
// phases, and so is back within an interval of its return without coming all at once. It is measured from where the
// call began, as one that ended by its deadline has waited already.
func (p *pace) backoff(took, retryAfter time.Duration) time.Duration {
	p.failures++
	if retryAfter > 0 {
		return p.bounded(retryAfter)
	}
	var wait time.Duration
	switch p.failures {
	case 1:
		wait = p.spread(p.tick()/4, 0.5, 1.5)
	case 2:
		wait = p.spread(p.tick()/2, 0.5, 1.5)
	default:
		wait = p.spread(p.tick(), 0.75, 1)
	}
	return max(wait-took, wait/4)
}

// bounded keeps a wish of the Global Controller's from silencing the controller, or from having it call all the time.
func (p *pace) bounded(retryAfter time.Duration) time.Duration {
	return min(max(retryAfter, p.tick()/100), 2*p.intervals.Fast)
}

// spread is a random part of d, between the two.
func (p *pace) spread(d time.Duration, from, to float64) time.Duration {
	return time.Duration(float64(d) * (from + (to-from)*p.random()))
}
