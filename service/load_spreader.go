package service

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// burstFactor is how many times the average rate makes a second's calls a burst.
	burstFactor = 2
	// smallBurst is the number of calls in a second that any machine handles without effort.
	smallBurst = 20
)

// LoadSpreader spreads calls that arrive in a burst (a thundering herd). A burst follows an outage, or the loss of all connections
// at once. During a burst it gives each controller a different delay for its next heartbeat, so that from the next interval on the
// calls arrive evenly. Its methods are safe for concurrent use.
type LoadSpreader struct {
	interval time.Duration
	now      func() time.Time

	mu            sync.Mutex
	recoveryUntil time.Time // Until then, after an outage, every heartbeat counts as part of a burst.
	burstUntil    time.Time // Until then the rate is too high.
	total         rateEWMA  // Registrations and heartbeats.
	registrations rateEWMA  // Registrations only. A fleet without restarts has almost none.
}

// rateEWMA counts calls by the second and keeps their moving average.
type rateEWMA struct {
	second time.Time // The start of the second that is being counted.
	count  float64   // The calls in that second.
	mean   float64   // The average per second, over about one interval.
}

// NewLoadSpreader returns a spreader for heartbeats with the given interval, on the clock now. The mean starts at zero, so after a
// start any burst above smallBurst is spread.
func NewLoadSpreader(interval time.Duration, now func() time.Time) *LoadSpreader {
	return &LoadSpreader{
		interval:      interval,
		now:           now,
		total:         rateEWMA{second: now()},
		registrations: rateEWMA{second: now()},
	}
}

// DelayAfterHeartbeat counts an acknowledged heartbeat and returns the delay before the next one, 0 for the usual interval.
func (s *LoadSpreader) DelayAfterHeartbeat() time.Duration {
	s.mu.Lock()
	now := s.countOne()
	inBurst := now.Before(s.burstUntil) || now.Before(s.recoveryUntil)
	s.mu.Unlock()

	if !inBurst {
		return 0
	}
	return s.randomDelay()
}

// DelayAfterRegistration counts a registration and returns the delay before the first heartbeat, 0 for none.
func (s *LoadSpreader) DelayAfterRegistration() time.Duration {
	s.mu.Lock()
	now := s.countOne()
	if s.registrations.add(now, s.interval) {
		s.burstUntil = now.Add(time.Second)
	}
	inBurst := now.Before(s.burstUntil)
	s.mu.Unlock()

	if !inBurst {
		return 0
	}
	return max(time.Millisecond, s.randomBetween(0, s.interval))
}

// DelayAfterFailure records that a call could not be stored and returns the delay before the caller's next attempt. After an outage all
// callers return together, so for one interval every heartbeat counts as part of a burst.
func (s *LoadSpreader) DelayAfterFailure() time.Duration {
	s.mu.Lock()
	s.recoveryUntil = s.now().Add(s.interval)
	s.mu.Unlock()

	return s.randomDelay()
}

// randomDelay returns a delay that averages one interval and is evenly distributed over the length of one. So simultaneous calls
// are spread over a whole interval. The maximum is half the staleness threshold, which allows three intervals.
func (s *LoadSpreader) randomDelay() time.Duration {
	return s.randomBetween(s.interval/2, s.interval*3/2)
}

// randomBetween returns a random duration from from up to to.
func (s *LoadSpreader) randomBetween(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + rand.N(to-from) //nolint:gosec // Spreads load; no secret.
}

// countOne counts one call and returns its time. The caller holds the lock.
func (s *LoadSpreader) countOne() time.Time {
	now := s.now()
	if s.total.add(now, s.interval) {
		s.burstUntil = now.Add(time.Second)
	}
	return now
}

// add counts one call and reports whether this second has too many.
func (r *rateEWMA) add(now time.Time, interval time.Duration) bool {
	if elapsed := now.Sub(r.second); elapsed >= time.Second || elapsed < 0 {
		r.updateMean(elapsed, interval)
		r.second = now
		r.count = 0
	}
	r.count++
	return r.count > smallBurst && r.count > burstFactor*r.mean
}

// updateMean adds the count of the elapsed time to the mean, whose memory is about one interval.
func (r *rateEWMA) updateMean(elapsed, interval time.Duration) {
	seconds := elapsed.Seconds()
	if seconds < 1 {
		return // The clock was set back.
	}
	weight := min(1, seconds/max(1, interval.Seconds()))
	r.mean += weight * (r.count/seconds - r.mean)
}
