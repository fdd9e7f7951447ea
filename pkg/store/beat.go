package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

const (
	// deleteNoneSQL deletes nothing, but takes the lock on the table that heartbeats take. If the table
	// or the server rejects heartbeats, it therefore rejects the beat, too.
	deleteNoneSQL = `DELETE FROM meeting_controllers WHERE false`

	// replicaRetention is how long the row of a stopped replica is kept.
	replicaRetention = 24 * time.Hour
)

// Beat implements [service.ReplicaStore].
func (s *Store) Beat(ctx context.Context, b service.Beat) (service.BeatResult, error) {
	if b.First {
		if err := s.keepFormerSettings(ctx, b.Replica); err != nil {
			return service.BeatResult{}, err
		}
	}

	if s.dialect.isPostgres {
		return run(ctx, s, "beat", func(ctx context.Context) (service.BeatResult, error) { return s.beatPostgres(ctx, b) })
	}
	return transact(ctx, s, s.checkerDB, "beat", func(ctx context.Context, tx *sqlx.Tx) (service.BeatResult, error) {
		return s.beatSQLite(ctx, tx, b)
	})
}

// isReplicaSQL selects the rows of replicas. The id of a row with former settings has a slash, which no id of a replica
// has.
const isReplicaSQL = `replica_id NOT LIKE '%/%'`

// keepFormerSettings keeps the settings of a replica that starts again with a shorter threshold. A controller that the
// replica acknowledged before may use the longer threshold until that has passed.
func (s *Store) keepFormerSettings(ctx context.Context, r service.Replica) error {
	_, err := run(ctx, s, "beat", func(ctx context.Context) (struct{}, error) {
		_, err := s.checkerDB.ExecContext(ctx, s.checkerDB.Rebind(`INSERT INTO replicas AS r (replica_id, version, staleness_threshold_ms,
			fast_interval_ms, comprehensive_interval_ms, max_connections, started_at, seen_at)
			SELECT substr(replica_id, 1, 230) || '/' || staleness_threshold_ms, version, staleness_threshold_ms, fast_interval_ms,
				comprehensive_interval_ms, 0, started_at, seen_at
			FROM replicas WHERE replica_id = ? AND staleness_threshold_ms > ?
			ON CONFLICT (replica_id) DO UPDATE SET fast_interval_ms = excluded.fast_interval_ms, seen_at = excluded.seen_at`),
			r.ID, r.StalenessThreshold.Milliseconds())
		return struct{}{}, err
	})
	return err
}
