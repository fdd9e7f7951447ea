package store

import (
	"context"

	"github.com/jmoiron/sqlx"
)

// pingPostgresSQL and pingSQLiteSQL write nothing, and fail if a heartbeat would fail: without the tables, on a read-only
// server, or behind a lock that blocks heartbeats.
const (
	pingPostgresSQL = `WITH heartbeat AS (UPDATE meeting_controllers SET updated_at = updated_at WHERE false RETURNING 1),
	history AS (INSERT INTO controller_transitions (
		controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
		SELECT controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status
		FROM controller_transitions WHERE false RETURNING 1)
SELECT count(*) FROM heartbeat, history`
	pingSQLiteSQL = `UPDATE meeting_controllers SET updated_at = updated_at WHERE false`
)

// Ping returns nil if the store can write a heartbeat now. Only a commit shows whether the disk accepts writes.
func (s *Store) Ping(ctx context.Context) error {
	if s.dialect.isPostgres {
		_, err := run(ctx, s, "ping", func(ctx context.Context) (struct{}, error) {
			_, err := s.heartbeat.db.ExecContext(ctx, pingPostgresSQL)
			return struct{}{}, err
		})
		return err
	}

	_, err := transact(ctx, s, s.writeDB, "ping", func(ctx context.Context, tx *sqlx.Tx) (struct{}, error) {
		_, err := tx.ExecContext(ctx, pingSQLiteSQL)
		return struct{}{}, err
	})
	return err
}
