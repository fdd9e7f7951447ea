package daemon

import (
	"context"
	"time"
)

// shareInterval is how often a replica looks how many others use its database.
const shareInterval = 5 * time.Second

// shareConnections has the store open no more connections than is this replica's share.
func (s *Server) shareConnections(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.migrated:
	}

	// At once: a fleet registers soon after a start, and alone a replica may open more connections than it begins with.
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
