package client

import (
	"testing"
	"time"
)

func TestSchedule_IntervalLimits(t *testing.T) {
	t.Parallel()
	s := newSchedule(nil)
	if s.setIntervals(Intervals{}) || s.setIntervals(Intervals{defaultFastInterval, defaultComprehensiveInterval}) {
		t.Error("setIntervals(unchanged) = true, want false")
	}
	if !s.setIntervals(Intervals{time.Nanosecond, 1000 * time.Hour}) || s.intervals != (Intervals{minInterval, maxInterval}) {
		t.Errorf("intervals = %v, want the limits", s.intervals)
	}
	s.nextComprehensive = time.Now().Add(time.Hour)
	s.setIntervals(Intervals{Comprehensive: time.Minute})
	if got := time.Until(s.nextComprehensive); got > time.Minute {
		t.Errorf("the next comprehensive heartbeat is due in %v, want at most the new interval", got)
	}
}

func TestSchedule_SecondComprehensiveHeartbeatIsSpread(t *testing.T) {
	t.Parallel()
	s := newSchedule(nil)
	now := time.Now()
	for _, random := range []float64{0, 0.5, 0.99} {
		s.random = func() float64 { return random }
		s.markRegistered(now)
		if !s.isComprehensiveDue(now) {
			t.Error("the first heartbeat is not a comprehensive one")
		}

		s.markAcknowledged(now, true)
		if got, want := s.nextComprehensive.Sub(now), time.Duration(random*30*float64(time.Second)); got != want {
			t.Errorf("the second is due after %v, want %v", got, want)
		}

		s.markAcknowledged(now, true)
		if got := s.nextComprehensive.Sub(now); got != 30*time.Second {
			t.Errorf("the third is due after %v, want 30 s", got)
		}
	}
}
