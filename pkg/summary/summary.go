// Package summary shares one reading of the fleet's sums among all callers: adding up a large fleet is expensive, and clients
// may scrape metrics or list regions at any rate.
package summary

import (
	"context"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// readShare bounds the part of the time in which the store adds up the fleet for a process: as many times as long as the
	// last reading took passes from its begin to that of the next, but no more than oldest. Until then callers share it.
	readShare = 20
	oldest    = 10 * time.Second
)

// Summary reads the sums of the fleet for all callers in a process. It implements [service.RegionReader].
type Summary struct {
	source service.RegionReader

	mu      sync.Mutex
	last    *reading
	reading *reading // nil unless one is under way
}

// reading is one reading of the sums. What it found is set when done is closed.
type reading struct {
	done    chan struct{}
	began   time.Time
	took    time.Duration
	regions []service.Region
	err     error
}

var _ service.RegionReader = (*Summary)(nil)

// New returns a summary of what source adds up. Its calls must be bounded.
func New(source service.RegionReader) *Summary { return &Summary{source: source} }

// Regions returns the sums, which callers share and must not change. They are as old as [service.Region.AsOf] says: at most
// ten seconds, and 20 times as long as it takes to read them.
func (s *Summary) Regions(ctx context.Context) ([]service.Region, error) {
	r := s.join(ctx)
	select {
	case <-r.done:
		return r.regions, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join returns the last reading when it is recent, one that is under way, or one that begins now.
func (s *Summary) join(ctx context.Context) *reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading != nil {
		return s.reading
	}
	if s.last != nil && time.Since(s.last.began) < min(readShare*s.last.took, oldest) {
		return s.last
	}

	r := &reading{done: make(chan struct{}), began: time.Now()}
	s.reading = r
	// Others wait for it as well, so it does not end with its caller.
	go s.read(context.WithoutCancel(ctx), r)
	return r
}

func (s *Summary) read(ctx context.Context, r *reading) {
	r.regions, r.err = s.source.Regions(ctx)
	r.took = time.Since(r.began)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.reading = r, nil
	close(r.done)
}

// Store is a store whose regions are shared.
type Store struct {
	service.Store
	Summary *Summary
}

// Regions implements [service.Store].
func (s Store) Regions(ctx context.Context) ([]service.Region, error) { return s.Summary.Regions(ctx) }
