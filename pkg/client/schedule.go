package client

import (
	"time"
)

const (
	defaultFastInterval          = 10 * time.Second
	defaultComprehensiveInterval = 30 * time.Second
	// Intervals outside of these limits are mistakes.
	minInterval = 10 * time.Millisecond
	maxInterval = 24 * time.Hour
)

// schedule computes when the next call is due. All delays have a random part, so that controllers that started together do
// not stay together.
type schedule struct {
	random    func() float64 // In [0, 1).
	intervals Intervals
	// nextComprehensive is when the next comprehensive heartbeat is due.
	nextComprehensive time.Time
	// isFirstComprehensive is true until the first comprehensive heartbeat after a registration.
	isFirstComprehensive bool
	// failures counts the failed calls in a row.
	failures int
}

func newSchedule(random func() float64) *schedule {
	return &schedule{
		random:    random,
		intervals: Intervals{Fast: defaultFastInterval, Comprehensive: defaultComprehensiveInterval},
	}
}

// setIntervals sets the intervals that the Global Controller sets, and reports whether they changed. 0 keeps an interval.
func (s *schedule) setIntervals(next Intervals) (isChanged bool) {
	before := s.intervals
	if next.Fast > 0 {
		s.intervals.Fast = min(max(next.Fast, minInterval), maxInterval)
	}
	if next.Comprehensive > 0 {
		s.intervals.Comprehensive = min(max(next.Comprehensive, minInterval), maxInterval)
	}
	if s.intervals == before {
		return false
	}

	// A comprehensive heartbeat that was due after a long interval is due earlier if the new interval is shorter.
	if latest := time.Now().Add(s.intervals.Comprehensive); s.nextComprehensive.After(latest) {
		s.nextComprehensive = latest
	}
	return true
}

// heartbeatInterval is the time between two heartbeats of any kind.
func (s *schedule) heartbeatInterval() time.Duration {
	return min(s.intervals.Fast, s.intervals.Comprehensive)
}

// markRegistered records a registration that was accepted now.
func (s *schedule) markRegistered(now time.Time) {
	s.failures = 0
	s.isFirstComprehensive = true
	s.nextComprehensive = now
}

// isComprehensiveDue reports whether the heartbeat that is sent now is a comprehensive one. It replaces a fast one, because it
// contains the same fields. Of all heartbeats, the one that is nearest to the due time is comprehensive.
func (s *schedule) isComprehensiveDue(now time.Time) bool {
	return s.nextComprehensive.Sub(now) <= s.heartbeatInterval()/2
}

// markAcknowledged records that a heartbeat that was sent now was acknowledged.
func (s *schedule) markAcknowledged(now time.Time, isComprehensive bool) {
	s.failures = 0
	if !isComprehensive {
		return
	}

	delay := s.intervals.Comprehensive
	if s.isFirstComprehensive {
		// The first ones of a fleet that registered together arrive together. The second ones are spread over the interval.
		s.isFirstComprehensive = false
		delay = s.randomPart(delay, 0, 1)
	}
	s.nextComprehensive = now.Add(delay)
}

// delayAfterHeartbeat returns how long to wait after an acknowledged heartbeat that took that time. The interval counts from the
// start of the heartbeat, so that slow responses do not delay the next one.
func (s *schedule) delayAfterHeartbeat(took, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return s.limitRetryAfter(retryAfter)
	}
	return max(s.randomPart(s.heartbeatInterval(), 0.9, 1.1)-took, s.heartbeatInterval()/4)
}

// delayAfterFailure returns how long to wait after a failed call that took that time. The delay grows to the heartbeat interval in
// two steps, and no further. A fleet that has lost its Global Controller then calls about as often as in normal operation, at
// random times. It is back within one interval after the outage, without a burst. The delay counts from the start of the call,
// because a call that timed out has waited already.
func (s *schedule) delayAfterFailure(took, retryAfter time.Duration) time.Duration {
	s.failures++
	if retryAfter > 0 {
		return s.limitRetryAfter(retryAfter)
	}

	var delay time.Duration
	switch s.failures {
	case 1:
		delay = s.randomPart(s.heartbeatInterval()/4, 0.5, 1.5)
	case 2:
		delay = s.randomPart(s.heartbeatInterval()/2, 0.5, 1.5)
	default:
		delay = s.randomPart(s.heartbeatInterval(), 0.75, 1)
	}
	return max(delay-took, delay/4)
}

// limitRetryAfter limits a delay that the Global Controller requests to between a hundredth of the heartbeat interval and two
// fast intervals.
func (s *schedule) limitRetryAfter(retryAfter time.Duration) time.Duration {
	return min(max(retryAfter, s.heartbeatInterval()/100), 2*s.intervals.Fast)
}

// randomPart returns d times a random factor between from and to.
func (s *schedule) randomPart(d time.Duration, from, to float64) time.Duration {
	return time.Duration(float64(d) * (from + (to-from)*s.random()))
}
