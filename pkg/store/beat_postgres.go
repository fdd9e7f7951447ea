package store

import (
	"context"
	"time"

	"github.com/lib/pq"

	"darktower.example/global-controller/service"
)

// beatSQL is one statement, so that a replica that is paused during a beat holds no lock. "old" locks the row and reads it
// once it is locked; the clock is read after that. checker_state.swept_at has been unused since migration 3, and
// replicas.max_connections since connection_limit replaced it. Both are kept for the previous release.
const beatSQL = `WITH writable AS (` + deleteNoneSQL + `), old AS MATERIALIZED (
	SELECT beat_at, serviceable_since, gap_began_at FROM checker_state WHERE id = 1 FOR UPDATE
), fact AS MATERIALIZED (
	SELECT clock_timestamp() AS now, old.beat_at, old.serviceable_since, old.gap_began_at
	FROM (VALUES (1)) AS one LEFT JOIN old ON true
), measured AS MATERIALIZED (
	SELECT now, beat_at, serviceable_since, gap_began_at, coalesce(abs(extract(epoch FROM now - beat_at)) * 1000 > $1::bigint, true) AS gap
	FROM fact
), state AS (
	INSERT INTO checker_state (id, beat_at, serviceable_since, gap_began_at, swept_at)
	SELECT 1, now, CASE WHEN gap THEN now ELSE serviceable_since END,
		CASE WHEN gap THEN coalesce(beat_at, 'epoch') ELSE gap_began_at END, 'epoch'
	FROM measured WHERE $2::boolean
	ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, serviceable_since = excluded.serviceable_since,
		gap_began_at = excluded.gap_began_at
), replica AS (
	INSERT INTO replicas AS r (replica_id, version, staleness_threshold_ms, fast_interval_ms, comprehensive_interval_ms, max_connections,
		started_at, seen_at)
	SELECT $3::varchar, $4::text, $5::bigint, $6::bigint, $7::bigint, 0, now, now FROM measured
	ON CONFLICT (replica_id) DO UPDATE SET version = excluded.version, staleness_threshold_ms = excluded.staleness_threshold_ms,
		fast_interval_ms = excluded.fast_interval_ms, comprehensive_interval_ms = excluded.comprehensive_interval_ms,
		seen_at = excluded.seen_at, started_at = CASE WHEN $8::boolean THEN excluded.started_at ELSE r.started_at END
), failed AS (
	INSERT INTO heartbeat_failures (controller_id, failed_at)
	SELECT m.controller_id, measured.now
	FROM measured, unnest($9::varchar[]) AS f (controller_id) JOIN meeting_controllers AS m USING (controller_id)
	ORDER BY m.controller_id
	ON CONFLICT (controller_id) DO UPDATE SET failed_at = excluded.failed_at
)
SELECT gap AND $2::boolean AS gap, coalesce(greatest(0, floor(extract(epoch FROM now - beat_at) * 1000)), 0)::bigint AS outage_ms, now
FROM measured`

// beatPostgres writes a beat by one statement.
func (s *Store) beatPostgres(ctx context.Context, b service.Beat) (result service.BeatResult, _ error) {
	var found struct {
		Gap      bool   `db:"gap"`
		OutageMS int64  `db:"outage_ms"`
		Now      dbTime `db:"now"`
	}
	r := b.Replica
	err := s.checkerDB.GetContext(ctx, &found, beatSQL, b.Tolerance.Milliseconds(), b.Vouches,
		r.ID, r.Version, r.StalenessThreshold.Milliseconds(), r.FastInterval.Milliseconds(), r.ComprehensiveInterval.Milliseconds(),
		b.First, pq.StringArray(b.Failed))
	if err != nil {
		return result, err
	}

	result.At = found.Now.Time
	if result.Gap = found.Gap; result.Gap {
		result.Outage = time.Duration(found.OutageMS) * time.Millisecond
	}
	return result, nil
}
