package daemon

import (
	"context"
	"time"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/retention"
	"darktower.example/global-controller/service"
)

const (
	// conflictInterval is the time between two writes of conflicts.
	conflictInterval = time.Second
	// shareInterval is the time between two counts of the replicas that share the database's connections.
	shareInterval = 5 * time.Second
)

// pruneRecords removes old transitions, and retires controllers that have been stale for long, until ctx ends.
func (s *Server) pruneRecords(ctx context.Context) error {
	return retention.Run(ctx, retention.Config{
		Store: s.store,
		Policy: service.RetentionPolicy{
			History:   s.cfg.HistoryRetention,
			Stale:     s.cfg.RetireAfter,
			Threshold: s.cfg.StalenessThreshold,
			Tolerance: health.Tolerance,
			Actor:     s.cfg.ID,
		},
		Interval:      s.cfg.Testing.RetentionInterval,
		IsServiceable: s.serviceable.IsServiceable,
		Observe:       s.metrics.ObservePrune,
		Logger:        s.logger,
	})
}

// writeConflicts writes the recorded conflicts once a second until ctx ends. Closing the store writes the rest.
func (s *Server) writeConflicts(ctx context.Context) error {
	ticker := time.NewTicker(conflictInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			_ = s.store.WriteConflicts(ctx) // The store's metrics count a failure, and the next write includes its conflicts.
		}
	}
}

// shareConnections limits the store's connections to this replica's share until ctx ends.
func (s *Server) shareConnections(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.migrated:
	}

	// The first count is made at once: a fleet registers soon after a start, and a single replica may open more connections
	// than it starts with.
	ticker := time.NewTicker(shareInterval)
	defer ticker.Stop()
	for {
		_ = s.store.ShareConnections(ctx, s.cfg.ID) // The store's metrics count a failure, and the limit stays as it is.
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
