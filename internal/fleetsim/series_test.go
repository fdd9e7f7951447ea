package fleetsim

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestSeries_CountsByStartOfCall(t *testing.T) {
	t.Parallel()
	s := NewSeries()
	at := func(d time.Duration) time.Time { return s.startedAt.Add(d) }
	// A hundred heartbeats a second for two seconds, and a burst of 30 within 100 ms.
	for i := range 200 {
		s.Record(true, codes.OK, at(time.Duration(i)*10*time.Millisecond), time.Millisecond)
	}
	for range 30 {
		s.Record(true, codes.Unavailable, at(1500*time.Millisecond), 5*time.Second)
	}
	s.Record(false, codes.OK, at(0), time.Millisecond)

	all := s.CountsBetween(at(0), at(2*time.Second))
	if all.Heartbeats != 230 || all.Registrations != 1 || all.Failed() != 30 || all.Rate() != 115 {
		t.Errorf("CountsBetween() = %d heartbeats, %d registrations, %d failed, %v/s; want 230, 1, 30, 115",
			all.Heartbeats, all.Registrations, all.Failed(), all.Rate())
	}
	if got := s.CountsBetween(at(time.Second), at(1500*time.Millisecond)); got.Calls() != 50 || got.Rate() != 100 {
		t.Errorf("half a second has %d calls, %v/s; want 50, 100", got.Calls(), got.Rate())
	}
	if got := s.CountsBetween(at(time.Minute), at(2*time.Minute)); got.Calls() != 0 || got.Quantile(0.5) != 0 {
		t.Errorf("a time without calls = %+v", got)
	}

	if got := s.PeakRate(at(0), at(2*time.Second)); got != 130 {
		t.Errorf("PeakRate() = %v, want 130", got)
	}
	if got := s.PeakRate(at(0), at(1400*time.Millisecond)); got != 100 {
		t.Errorf("PeakRate() before the burst = %v, want 100", got)
	}
}

func TestCounts_QuantileIsAtMostAQuarterTooHigh(t *testing.T) {
	t.Parallel()
	s := NewSeries()
	for i := range 100 {
		took := 2 * time.Millisecond
		if i >= 95 {
			took = 300 * time.Millisecond
		}
		s.Record(true, codes.OK, s.startedAt, took)
	}
	s.Record(true, codes.OK, s.startedAt, time.Hour)
	s.Record(true, codes.OK, s.startedAt, 0)

	counts := s.CountsBetween(s.startedAt, s.startedAt.Add(time.Second))
	for q, want := range map[float64]time.Duration{0.5: 2 * time.Millisecond, 0.98: 300 * time.Millisecond} {
		if got := counts.Quantile(q); got < want || got > want*5/4 {
			t.Errorf("Quantile(%v) = %v, want %v to a quarter more", q, got, want)
		}
	}
}
