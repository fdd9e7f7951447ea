package store

import (
	"context"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"darktower.example/global-controller/service"
)

// markStaleSQL marks controllers and records their transitions in one statement. $1 is the time at which the chunk read the
// last beat, and $2 the time since which heartbeats can be committed. If $1 is older than the tolerance or $2 has changed,
// the replica was paused or the clock was set, and the statement marks none.
var markStaleSQL = `WITH silent AS MATERIALIZED (
	SELECT m.controller_id, m.region, m.health_status AS from_status, m.reported_status, m.operator_draining, m.last_heartbeat_at,
		threshold_ms
	FROM meeting_controllers AS m, LATERAL (
		SELECT CASE WHEN m.told_fast_interval_ms > $4::bigint THEN greatest(m.told_threshold_ms, $3::bigint) ELSE $3::bigint END AS threshold_ms
	) AS thresholds, LATERAL (SELECT threshold_ms * interval '1 millisecond' AS threshold) AS t
	WHERE NOT m.stale
		AND NOT m.last_heartbeat_at BETWEEN $1::timestamptz - $3::bigint * interval '1 millisecond'
			AND $1::timestamptz + $3::bigint * interval '1 millisecond'
		AND NOT m.last_heartbeat_at BETWEEN $1::timestamptz - threshold AND $1::timestamptz + threshold
		AND $2::timestamptz <= $1::timestamptz - threshold
		AND NOT EXISTS (SELECT FROM heartbeat_failures AS h WHERE h.controller_id = m.controller_id
			AND h.failed_at BETWEEN $1::timestamptz - threshold AND $1::timestamptz + $5::bigint * interval '1 millisecond')
		AND (SELECT serviceable_since = $2::timestamptz
			AND abs(extract(epoch FROM clock_timestamp() - $1::timestamptz)) * 1000 <= $5::bigint FROM checker_state WHERE id = 1)
	LIMIT $6::int FOR UPDATE OF m SKIP LOCKED
), marked AS (
	UPDATE meeting_controllers AS m SET stale = true, health_status = ` + healthSQL + `, updated_at = clock_timestamp()
	FROM (SELECT silent.*, true AS stale FROM silent) AS f WHERE m.controller_id = f.controller_id
	RETURNING m.controller_id, m.region, f.from_status, m.health_status AS to_status, m.reported_status, f.threshold_ms,
		f.last_heartbeat_at < $2::timestamptz OR f.last_heartbeat_at > $1::timestamptz AS crosses_gap,
		floor(extract(epoch FROM $1::timestamptz - CASE WHEN f.last_heartbeat_at < $2::timestamptz OR f.last_heartbeat_at > $1::timestamptz
			THEN $2::timestamptz ELSE f.last_heartbeat_at END) * 1000)::bigint AS silence_ms
)
INSERT INTO controller_transitions (controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
SELECT controller_id, region, $1::timestamptz, from_status, to_status, 'stale', $7::text,
	` + staleReasonSQL + ` || coalesce('; ' || refusal_text, ''),
	silence_ms, reported_status
FROM marked LEFT JOIN unnest($8::varchar[], $9::text[]) AS refusal (refused_id, refusal_text) ON refused_id = controller_id
ORDER BY controller_id
RETURNING id, controller_id, region, from_status, to_status, reported_status, reason, silence_ms`

func (s *Store) markStalePostgres(ctx context.Context, tx *sqlx.Tx, state sweepState, policy service.SweepPolicy) (
	rows []markedRow, _ error,
) {
	refusedIDs, refusalTexts := listRefusals(policy)
	err := tx.SelectContext(ctx, &rows, markStaleSQL, state.now, state.ServiceableSince.Time,
		state.threshold.Milliseconds(), state.fastInterval.Milliseconds(), policy.Tolerance.Milliseconds(), state.chunk, policy.Actor,
		pq.StringArray(refusedIDs), pq.StringArray(refusalTexts))
	return rows, err
}
