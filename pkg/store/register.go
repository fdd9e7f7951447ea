package store

import (
	"context"
	"database/sql"
	"time"

	"darktower.example/global-controller/service"
)

const registerReason = "registered"

// heartbeatPolicy is the heartbeat interval that registering controllers get, and their staleness threshold.
type heartbeatPolicy struct {
	fastIntervalMS sql.NullInt64
	thresholdMS    sql.NullInt64
}

func newHeartbeatPolicy(cfg Config) heartbeatPolicy {
	orNull := func(d time.Duration) sql.NullInt64 { return sql.NullInt64{Int64: d.Milliseconds(), Valid: d > 0} }
	return heartbeatPolicy{fastIntervalMS: orNull(cfg.FastInterval), thresholdMS: orNull(cfg.StalenessThreshold)}
}

// Register implements [service.Store].
func (s *Store) Register(ctx context.Context, r service.Registration, actor string) (service.RegisterResult, error) {
	if s.dialect.isPostgres {
		return s.registerPostgres(ctx, r, actor)
	}
	return s.registrations.submit(ctx, registrationCall{registration: r, actor: actor})
}

func nullIfEmpty(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
