package daemon

import (
	"context"
	"time"

	"github.com/go-kit/log/level"
)

// schemaInterval is how often a replica reads whether the schema is still for its binary: a newer release may change it
// while this one runs.
const schemaInterval = 5 * time.Second

// stateIncompatible is the state in /ready if this binary may not use the schema of the store.
const stateIncompatible = "incompatible schema"

// watchSchema keeps s.incompatible until ctx ends. A store that does not answer changes nothing: that is not the schema's
// fault.
func (s *Server) watchSchema(ctx context.Context) error {
	ticker := time.NewTicker(schemaInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !s.isMigrated() {
			continue // The start reads it by itself.
		}
		state, err := s.store.Schema(ctx)
		if err != nil || s.incompatible.Swap(!state.IsCompatible()) == !state.IsCompatible() {
			continue
		}
		if err := state.Err(); err != nil {
			_ = level.Error(s.logger).Log("msg", "a newer release changed the schema: this replica is no longer ready", "err", err)
		} else {
			_ = level.Info(s.logger).Log("msg", "the schema is compatible again", "schema_version", state.Version)
		}
	}
}
