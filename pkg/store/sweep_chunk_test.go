package store

import (
	"testing"
	"time"
)

func TestAdaptChunk_ByDuration(t *testing.T) {
	s := &Store{timeout: 5 * time.Second}

	for _, tc := range []struct {
		name             string
		from, want       int64
		took             time.Duration
		isFull, isFailed bool
	}{
		{name: "quick and full", from: 1000, want: 2000, took: 100 * time.Millisecond, isFull: true},
		{name: "quick, and nothing left", from: 1000, want: 1000, took: 100 * time.Millisecond},
		{name: "neither quick nor slow", from: 1000, want: 1000, took: time.Second, isFull: true},
		{name: "slow", from: 1000, want: 500, took: 2 * time.Second, isFull: true},
		{name: "failed", from: 1000, want: 500, took: 5 * time.Second, isFailed: true},
		{name: "at the maximum", from: maxChunk, want: maxChunk, took: time.Millisecond, isFull: true},
		{name: "at the minimum", from: minChunk, want: minChunk, took: time.Minute, isFailed: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.sweepChunk.Store(tc.from)
			s.adaptChunk(tc.took, tc.isFull, tc.isFailed)
			if got := s.sweepChunk.Load(); got != tc.want {
				t.Errorf("chunk after %v = %d, want %d", tc.took, got, tc.want)
			}
		})
	}
}
