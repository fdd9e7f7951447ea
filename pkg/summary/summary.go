// Package summary shares one result of the query that sums up the fleet among all callers. Summing up a large fleet is expensive, and
// clients may scrape metrics or list regions at any rate.
package summary

import (
	"context"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// spacingFactor limits the load on the store. The next query starts no earlier than spacingFactor times the duration of the last one
	// after its start, or maxAge if that is shorter. Until then callers share the last result.
	spacingFactor = 20
	maxAge        = 10 * time.Second
)

// Summary reads the sums of the fleet for all callers in a process. It implements [service.RegionReader].
type Summary struct {
	source service.RegionReader

	mu      sync.Mutex
	last    *query
	running *query // nil if none is running
}

// query is one query of the sums. Its results are set when done is closed.
type query struct {
	done    chan struct{}
	began   time.Time
	took    time.Duration
	regions []service.Region
	err     error
}

var _ service.RegionReader = (*Summary)(nil)

// New returns a summary of source. The calls of source must have a timeout.
func New(source service.RegionReader) *Summary { return &Summary{source: source} }

// Regions returns the sums. Callers share the result and must not change it. [service.Region.AsOf] has its age: at most ten seconds, and
// at most 20 times the duration of the query.
func (s *Summary) Regions(ctx context.Context) ([]service.Region, error) {
	q := s.currentQuery(ctx)
	select {
	case <-q.done:
		return q.regions, q.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// currentQuery returns the running query, or the last one if it is recent, or a query that it starts.
func (s *Summary) currentQuery(ctx context.Context) *query {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.running != nil {
		return s.running
	}
	if s.last != nil && time.Since(s.last.began) < min(spacingFactor*s.last.took, maxAge) {
		return s.last
	}

	q := &query{done: make(chan struct{}), began: time.Now()}
	s.running = q
	// Other callers wait for the query as well, so it must not end with this caller's context.
	go s.run(context.WithoutCancel(ctx), q)
	return q
}

func (s *Summary) run(ctx context.Context, q *query) {
	q.regions, q.err = s.source.Regions(ctx)
	q.took = time.Since(q.began)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = q
	s.running = nil
	close(q.done)
}

// Store is a store whose Regions method goes through a [Summary].
type Store struct {
	service.Store
	Summary *Summary
}

// Regions implements [service.Store].
func (s Store) Regions(ctx context.Context) ([]service.Region, error) { return s.Summary.Regions(ctx) }
