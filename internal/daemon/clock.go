package daemon

import (
	"context"
	"strings"
	"time"

	"darktower.example/global-controller/pkg/clock"
	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/service"
)

// clockedStore compares this host's clock with the store's at each beat.
type clockedStore struct {
	*store.Store
	compareClock func(at time.Time, uncertainty time.Duration)
}

// newClockedStore returns the store for the health checker. PostgreSQL has a clock of its own; SQLite uses that of this host,
// which there is no need to compare.
func (s *Server) newClockedStore() clockedStore {
	if !strings.HasPrefix(s.cfg.DatabaseURL, "postgres") {
		return clockedStore{s.store, func(time.Time, time.Duration) {}}
	}
	return clockedStore{s.store, func(at time.Time, uncertainty time.Duration) { s.auth.clock.AddReading(clock.Store, at, uncertainty) }}
}

// Beat implements [service.ReplicaStore].
func (s clockedStore) Beat(ctx context.Context, b service.Beat) (service.BeatResult, error) {
	began := time.Now()
	result, err := s.Store.Beat(ctx, b)

	if half := time.Since(began) / 2; err == nil && !result.At.IsZero() {
		s.compareClock(result.At.Add(half), half)
	}
	return result, err
}
