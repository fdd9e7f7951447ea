package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// beatSQLite writes a beat in a transaction that excludes every other writer.
func (s *Store) beatSQLite(ctx context.Context, tx *sqlx.Tx, b service.Beat) (result service.BeatResult, _ error) {
	if _, err := tx.ExecContext(ctx, deleteNoneSQL); err != nil {
		return result, err
	}
	state, err := s.readCheckerState(ctx, tx)
	isFirst := errors.Is(err, sql.ErrNoRows)
	if err != nil && !isFirst {
		return result, err
	}
	now, err := s.readNow(ctx, tx)
	if err != nil {
		return result, err
	}

	result.At = now
	if b.Vouches {
		pause := now.Sub(state.BeatAt.Time)
		// A clock that was set back is a gap as well: the times before it cannot be compared.
		if result.Gap = isFirst || pause.Abs() > b.Tolerance; result.Gap {
			state.GapBeganAt, state.ServiceableSince = state.BeatAt, dbTime{now}
			if !isFirst {
				result.Outage = max(0, pause)
			}
		}
		if err := s.writeCheckerStateSQLite(ctx, tx, state, now); err != nil {
			return result, err
		}
	}

	if err := s.writeReplicaSQLite(ctx, tx, b, now); err != nil {
		return result, err
	}
	for _, id := range b.Failed {
		if _, err := tx.ExecContext(ctx, `INSERT INTO heartbeat_failures (controller_id, failed_at)
			SELECT controller_id, ? FROM meeting_controllers WHERE controller_id = ?
			ON CONFLICT (controller_id) DO UPDATE SET failed_at = excluded.failed_at`, s.dialect.bind(now), id); err != nil {
			return result, err
		}
	}

	return result, nil
}

// writeCheckerStateSQLite writes the state with a beat now. The column swept_at has been unused since migration 3; it is kept
// for the previous release.
func (s *Store) writeCheckerStateSQLite(ctx context.Context, tx *sqlx.Tx, state checkerState, now time.Time) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO checker_state (id, beat_at, serviceable_since, gap_began_at, swept_at)
		VALUES (1, ?, ?, ?, 0) ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at,
		serviceable_since = excluded.serviceable_since, gap_began_at = excluded.gap_began_at`,
		s.dialect.bind(now), s.dialect.bind(state.ServiceableSince.Time), s.bindZeroAsEpoch(state.GapBeganAt))
	return err
}

// writeReplicaSQLite writes the row of the replica that beats. The column max_connections has been unused since
// connection_limit replaced it; it is kept for the previous release.
func (s *Store) writeReplicaSQLite(ctx context.Context, tx *sqlx.Tx, b service.Beat, now time.Time) error {
	r, at := b.Replica, s.dialect.bind(now)
	_, err := tx.ExecContext(ctx, `INSERT INTO replicas AS r (replica_id, version, staleness_threshold_ms, fast_interval_ms,
		comprehensive_interval_ms, max_connections, started_at, seen_at) VALUES (?, ?, ?, ?, ?, 0, ?, ?)
		ON CONFLICT (replica_id) DO UPDATE SET version = excluded.version, staleness_threshold_ms = excluded.staleness_threshold_ms,
		fast_interval_ms = excluded.fast_interval_ms, comprehensive_interval_ms = excluded.comprehensive_interval_ms,
		seen_at = excluded.seen_at, started_at = CASE WHEN ? THEN excluded.started_at ELSE r.started_at END`,
		r.ID, r.Version, r.StalenessThreshold.Milliseconds(), r.FastInterval.Milliseconds(), r.ComprehensiveInterval.Milliseconds(),
		at, at, b.First)
	return err
}

// bindZeroAsEpoch binds a time. The zero time, before the first beat, becomes 1970.
func (s *Store) bindZeroAsEpoch(t dbTime) any {
	if t.IsZero() {
		return s.dialect.bind(time.Unix(0, 0))
	}
	return s.dialect.bind(t.Time)
}
