package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"darktower.example/global-controller/service"
)

const (
	// beatStatement is one statement, so that a replica that is paused in the middle holds no lock. "old" locks the row first
	// and shows it as it is then; the clock is read after that. The deletion that deletes nothing takes the lock on the table
	// that heartbeats take: a table or a server that refuses heartbeats refuses the beat.
	beatStatement = `WITH writable AS (` + deleteNone + `), old AS MATERIALIZED (
	SELECT beat_at, serviceable_since, gap_began_at FROM checker_state WHERE id = 1 FOR UPDATE
), fact AS MATERIALIZED (
	SELECT clock_timestamp() AS now, old.beat_at, old.serviceable_since, old.gap_began_at
	FROM (VALUES (1)) AS one LEFT JOIN old ON true
), judged AS MATERIALIZED (
	SELECT now, beat_at, serviceable_since, gap_began_at, coalesce(abs(extract(epoch FROM now - beat_at)) * 1000 > $1::bigint, true) AS gap
	FROM fact
), state AS (
	INSERT INTO checker_state (id, beat_at, serviceable_since, gap_began_at, swept_at)
	SELECT 1, now, CASE WHEN gap THEN now ELSE serviceable_since END,
		CASE WHEN gap THEN coalesce(beat_at, 'epoch') ELSE gap_began_at END, 'epoch'
	FROM judged WHERE $2::boolean
	ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, serviceable_since = excluded.serviceable_since,
		gap_began_at = excluded.gap_began_at
), seen AS (
	INSERT INTO replicas AS r (replica_id, version, staleness_threshold_ms, fast_interval_ms, comprehensive_interval_ms, max_connections,
		started_at, seen_at)
	SELECT $3::varchar, $4::text, $5::bigint, $6::bigint, $7::bigint, $8::int, now, now FROM judged
	ON CONFLICT (replica_id) DO UPDATE SET version = excluded.version, staleness_threshold_ms = excluded.staleness_threshold_ms,
		fast_interval_ms = excluded.fast_interval_ms, comprehensive_interval_ms = excluded.comprehensive_interval_ms,
		max_connections = excluded.max_connections, seen_at = excluded.seen_at,
		started_at = CASE WHEN $9::boolean THEN excluded.started_at ELSE r.started_at END
), failed AS (
	INSERT INTO heartbeat_failures (controller_id, failed_at)
	SELECT m.controller_id, judged.now
	FROM judged, unnest($10::varchar[]) AS f (controller_id) JOIN meeting_controllers AS m USING (controller_id)
	ORDER BY m.controller_id
	ON CONFLICT (controller_id) DO UPDATE SET failed_at = excluded.failed_at
)
SELECT gap AND $2::boolean AS gap, coalesce(greatest(0, floor(extract(epoch FROM now - beat_at) * 1000)), 0)::bigint AS outage_ms, now
FROM judged`

	deleteNone = `DELETE FROM meeting_controllers WHERE false`

	// replicasKeptFor is how long a stopped replica is listed.
	replicasKeptFor = 24 * time.Hour
)

// Beat implements [service.ReplicaStore].
func (s *Store) Beat(ctx context.Context, b service.Beat) (service.BeatResult, error) {
	if b.First {
		if err := s.keepFormerSettings(ctx, b.Replica); err != nil {
			return service.BeatResult{}, err
		}
	}
	if s.dialect.oneStatement {
		return run(ctx, s, "beat", func(ctx context.Context) (service.BeatResult, error) { return s.beatPostgres(ctx, b) })
	}
	return transact(ctx, s, s.checker, "beat", func(ctx context.Context, tx *sqlx.Tx) (service.BeatResult, error) {
		return s.beatSQLite(ctx, tx, b)
	})
}

// isRunning selects the replicas themselves: a row that keeps former settings has a slash in its id, as no id of a replica has.
const isRunning = `replica_id NOT LIKE '%/%'`

// keepFormerSettings keeps the settings of a replica that starts again with a shorter threshold: a controller that it
// acknowledged before may use the longer one until it is over.
func (s *Store) keepFormerSettings(ctx context.Context, r service.Replica) error {
	_, err := run(ctx, s, "beat", func(ctx context.Context) (none struct{}, _ error) {
		_, err := s.checker.ExecContext(ctx, s.checker.Rebind(`INSERT INTO replicas AS r (replica_id, version, staleness_threshold_ms, fast_interval_ms,
			comprehensive_interval_ms, max_connections, started_at, seen_at)
			SELECT substr(replica_id, 1, 230) || '/' || staleness_threshold_ms, version, staleness_threshold_ms, fast_interval_ms, comprehensive_interval_ms, 0,
				started_at, seen_at
			FROM replicas WHERE replica_id = ? AND staleness_threshold_ms > ?
			ON CONFLICT (replica_id) DO UPDATE SET fast_interval_ms = excluded.fast_interval_ms, seen_at = excluded.seen_at`), r.ID, r.StalenessThreshold.Milliseconds())
		return none, err
	})
	return err
}

func (s *Store) beatPostgres(ctx context.Context, b service.Beat) (result service.BeatResult, _ error) {
	var found struct {
		Gap      bool   `db:"gap"`
		OutageMS int64  `db:"outage_ms"`
		Now      dbTime `db:"now"`
	}
	r := b.Replica
	err := s.checker.GetContext(ctx, &found, beatStatement, b.Tolerance.Milliseconds(), b.CanAcceptHeartbeats,
		r.ID, r.Version, r.StalenessThreshold.Milliseconds(), r.FastInterval.Milliseconds(), r.ComprehensiveInterval.Milliseconds(),
		r.MaxConnections, b.First, pq.StringArray(b.Failed))
	if err != nil {
		return result, err
	}

	result.At = found.Now.Time
	if result.Gap = found.Gap; result.Gap {
		result.Outage = time.Duration(found.OutageMS) * time.Millisecond
	}

	return result, nil
}

// beatSQLite does the same within a transaction that excludes every other writer.
func (s *Store) beatSQLite(ctx context.Context, tx *sqlx.Tx, b service.Beat) (result service.BeatResult, _ error) {
	if _, err := tx.ExecContext(ctx, deleteNone); err != nil {
		return result, err
	}
	state, err := s.checkerState(ctx, tx)
	isFirst := errors.Is(err, sql.ErrNoRows)
	if err != nil && !isFirst {
		return result, err
	}

	now, err := s.now(ctx, tx)
	if err != nil {
		return result, err
	}

	result.At = now
	pause := now.Sub(state.BeatAt.Time)
	if b.CanAcceptHeartbeats {
		// A clock that was set back is a gap as well: what it said of the time before is worth nothing.
		if result.Gap = isFirst || pause.Abs() > b.Tolerance; result.Gap {
			state.GapBeganAt, state.ServiceableSince = state.BeatAt, dbTime{now}
			if !isFirst {
				result.Outage = max(0, pause)
			}
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO checker_state (id, beat_at, serviceable_since, gap_began_at, swept_at)
			VALUES (1, ?, ?, ?, 0) ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at,
			serviceable_since = excluded.serviceable_since, gap_began_at = excluded.gap_began_at`,
			s.dialect.bind(now), s.dialect.bind(state.ServiceableSince.Time), s.bindZeroAsNull(state.GapBeganAt)); err != nil {
			return result, err
		}
	}

	r, at := b.Replica, s.dialect.bind(now)
	if _, err := tx.ExecContext(ctx, `INSERT INTO replicas AS r (replica_id, version, staleness_threshold_ms, fast_interval_ms,
		comprehensive_interval_ms, max_connections, started_at, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (replica_id) DO UPDATE SET version = excluded.version, staleness_threshold_ms = excluded.staleness_threshold_ms,
		fast_interval_ms = excluded.fast_interval_ms, comprehensive_interval_ms = excluded.comprehensive_interval_ms,
		max_connections = excluded.max_connections, seen_at = excluded.seen_at,
		started_at = CASE WHEN ? THEN excluded.started_at ELSE r.started_at END`,
		r.ID, r.Version, r.StalenessThreshold.Milliseconds(), r.FastInterval.Milliseconds(), r.ComprehensiveInterval.Milliseconds(),
		r.MaxConnections, at, at, b.First); err != nil {
		return result, err
	}

	for _, id := range b.Failed {
		if _, err := tx.ExecContext(ctx, `INSERT INTO heartbeat_failures (controller_id, failed_at)
			SELECT controller_id, ? FROM meeting_controllers WHERE controller_id = ?
			ON CONFLICT (controller_id) DO UPDATE SET failed_at = excluded.failed_at`, at, id); err != nil {
			return result, err
		}
	}

	return result, nil
}

// bindZeroAsNull binds a time that may be the zero time, which stands for one before any.
func (s *Store) bindZeroAsNull(t dbTime) any {
	if t.IsZero() {
		return s.dialect.bind(time.Unix(0, 0))
	}
	return s.dialect.bind(t.Time)
}

// Replicas implements [service.ReplicaStore].
func (s *Store) Replicas(ctx context.Context) ([]service.Replica, error) {
	return run(ctx, s, "replicas", func(ctx context.Context) (replicas []service.Replica, _ error) {
		var found []struct {
			ID              string `db:"replica_id"`
			Version         string `db:"version"`
			ThresholdMS     int64  `db:"staleness_threshold_ms"`
			FastMS          int64  `db:"fast_interval_ms"`
			ComprehensiveMS int64  `db:"comprehensive_interval_ms"`
			MaxConnections  int    `db:"max_connections"`
			StartedAt       dbTime `db:"started_at"`
			SeenAt          dbTime `db:"seen_at"`
			Now             dbTime `db:"now"`
		}
		if err := s.read.SelectContext(ctx, &found, `SELECT replica_id, version, staleness_threshold_ms, fast_interval_ms,
			comprehensive_interval_ms, max_connections, started_at, seen_at, `+s.dialect.now+` AS now
			FROM replicas WHERE `+isRunning+` ORDER BY replica_id`); err != nil {
			return nil, err
		}

		for _, r := range found {
			if r.Now.Sub(r.SeenAt.Time) > replicasKeptFor {
				continue
			}
			replicas = append(replicas, service.Replica{
				ID:                    r.ID,
				Version:               r.Version,
				StalenessThreshold:    time.Duration(r.ThresholdMS) * time.Millisecond,
				FastInterval:          time.Duration(r.FastMS) * time.Millisecond,
				ComprehensiveInterval: time.Duration(r.ComprehensiveMS) * time.Millisecond,
				MaxConnections:        r.MaxConnections,
				StartedAt:             r.StartedAt.Time,
				SeenAt:                r.SeenAt.Time,
			})
		}

		return replicas, nil
	})
}
