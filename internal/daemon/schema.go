package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/go-kit/log/level"

	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/service"
)

const (
	// minMigrateDelay and maxMigrateDelay limit the time between two attempts to migrate while the store is down.
	minMigrateDelay = 250 * time.Millisecond
	maxMigrateDelay = 5 * time.Second
	// schemaInterval is the time between two checks that the schema is still for this binary. A newer release may change it
	// while this one runs.
	schemaInterval = 5 * time.Second
)

// stateIncompatible is the state in /ready if this binary may not use the schema of the store.
const stateIncompatible = "incompatible schema"

// migrateSchema brings the schema up to date. While the store is down, it tries again.
func (s *Server) migrateSchema(ctx context.Context) error {
	for delay := minMigrateDelay; ; delay = min(2*delay, maxMigrateDelay) {
		err := store.Migrate(ctx, s.cfg.DatabaseURL, s.logger)
		switch {
		case err == nil:
			close(s.migrated)
			return nil
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, service.ErrUnavailable):
			return err
		}
		_ = level.Error(s.logger).Log("msg", "schema migration failed", "err", err, "retry_in", delay)

		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// isMigrated reports whether the schema was brought up to date.
func (s *Server) isMigrated() bool {
	select {
	case <-s.migrated:
		return true
	default:
		return false
	}
}

// checkSchema keeps s.isIncompatible up to date until ctx ends. If the store does not respond, nothing changes: that is not a
// fault of the schema.
func (s *Server) checkSchema(ctx context.Context) error {
	ticker := time.NewTicker(schemaInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !s.isMigrated() {
			continue // migrateSchema checks it.
		}

		state, err := s.store.Schema(ctx)
		if err != nil || s.isIncompatible.Swap(!state.IsCompatible()) == !state.IsCompatible() {
			continue
		}
		if err := state.Err(); err != nil {
			_ = level.Error(s.logger).Log("msg", "a newer release changed the schema: this replica is no longer ready", "err", err)
		} else {
			_ = level.Info(s.logger).Log("msg", "the schema is compatible again", "schema_version", state.Version)
		}
	}
}
