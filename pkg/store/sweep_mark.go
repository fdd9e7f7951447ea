package store

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"darktower.example/global-controller/service"
)

// durationSQL renders a number of milliseconds as [time.Duration.String] does, to the second from one second on.
func durationSQL(ms string) string {
	seconds := "(((" + ms + ") + 500) / 1000)"
	part := func(format string) string { return strings.ReplaceAll(format, "$", seconds) }
	return "CASE WHEN " + ms + " < 1000 THEN " + ms + " || 'ms' " + part(`WHEN $ < 60 THEN $ || 's'
		WHEN $ < 3600 THEN ($ / 60) || 'm' || ($ % 60) || 's'
		ELSE ($ / 3600) || 'h' || ($ % 3600 / 60) || 'm' || ($ % 60) || 's' END`)
}

// staleReasonSQL describes the silence of a row. A silence that began before a gap, or before the clock was set back, is
// measured from when heartbeats could be committed again.
var staleReasonSQL = `CASE
	WHEN crosses_gap THEN 'no heartbeat for at least ' || ` + durationSQL("silence_ms") + ` || ' since heartbeats could be committed again'
	ELSE 'no heartbeat for ' || ` + durationSQL("silence_ms") + ` END || ' (threshold ' || ` + durationSQL("threshold_ms") + ` || ')'`

// markStaleSQL marks and records in one statement. $1 is the time at which the chunk read the beat, and $2 since when
// heartbeats can be committed. If the reading is older than the tolerance or has changed, the replica was paused or the clock
// was set, and the statement marks nothing.
var markStaleSQL = `WITH silent AS MATERIALIZED (
	SELECT m.controller_id, m.region, m.health_status AS from_status, m.reported_status, m.operator_draining, m.last_heartbeat_at, threshold_ms
	FROM meeting_controllers AS m, LATERAL (
		SELECT CASE WHEN m.told_fast_interval_ms > $4::bigint THEN greatest(m.told_threshold_ms, $3::bigint) ELSE $3::bigint END AS threshold_ms
	) AS told, LATERAL (SELECT threshold_ms * interval '1 millisecond' AS threshold) AS t
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
	` + staleReasonSQL + ` || coalesce('; ' || words, ''),
	silence_ms, reported_status
FROM marked LEFT JOIN unnest($8::varchar[], $9::text[]) AS refusal (refused_id, words) ON refused_id = controller_id ORDER BY controller_id
RETURNING id, controller_id, region, from_status, to_status, reported_status, reason, silence_ms`

func (s *Store) markStalePostgres(ctx context.Context, tx *sqlx.Tx, state sweepState, policy service.SweepPolicy, rows *[]markedRow) error {
	refused, words := refusals(policy)
	return tx.SelectContext(ctx, rows, markStaleSQL, state.now, state.ServiceableSince.Time,
		state.threshold.Milliseconds(), state.fast.Milliseconds(), policy.Tolerance.Milliseconds(), state.chunk, policy.Actor,
		pq.StringArray(refused), pq.StringArray(words))
}

// refusals returns what is to be added to the reasons of marks, by the controllers' ids.
func refusals(policy service.SweepPolicy) (ids, words []string) {
	if policy.Refusals == nil {
		return nil, nil
	}
	for id, text := range policy.Refusals(policy.Threshold + policy.Interval) {
		ids, words = append(ids, id), append(words, text)
	}
	return ids, words
}

// recordStaleSQL records the transitions of the controllers that the next statement marks, in a transaction that excludes every
// other writer.
var recordStaleSQL = `INSERT INTO controller_transitions
	(controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
SELECT controller_id, region, ?1, health_status,
	CASE WHEN operator_draining OR reported_status = 'draining' THEN 'draining' ELSE 'unhealthy' END,
	'stale', ?7, ` + staleReasonSQL + ` || coalesce('; ' || json_extract(?8, '$."' || controller_id || '"'), ''), silence_ms, reported_status
FROM (
	SELECT *, ?1 - CASE WHEN crosses_gap THEN ?2 ELSE last_heartbeat_at END AS silence_ms
	FROM (
		SELECT controller_id, region, health_status, reported_status, operator_draining, last_heartbeat_at,
			CASE WHEN told_fast_interval_ms > ?4 THEN max(coalesce(told_threshold_ms, 0), ?3) ELSE ?3 END AS threshold_ms,
			last_heartbeat_at < ?2 OR last_heartbeat_at > ?1 AS crosses_gap
		FROM meeting_controllers WHERE NOT stale AND (last_heartbeat_at < ?1 - ?3 OR last_heartbeat_at > ?1 + ?3)
	) AS m
	WHERE (last_heartbeat_at < ?1 - threshold_ms OR last_heartbeat_at > ?1 + threshold_ms) AND ?2 <= ?1 - threshold_ms
		AND NOT EXISTS (SELECT 1 FROM heartbeat_failures AS h WHERE h.controller_id = m.controller_id
			AND h.failed_at BETWEEN ?1 - threshold_ms AND ?1 + ?5)
	LIMIT ?6
) ORDER BY controller_id
RETURNING id, controller_id, region, from_status, to_status, reported_status, reason, silence_ms`

func (s *Store) markStaleSQLite(ctx context.Context, tx *sqlx.Tx, state sweepState, policy service.SweepPolicy, rows *[]markedRow) error {
	ids, words := refusals(policy)
	byID := make(map[string]string, len(ids))
	for i, id := range ids {
		byID[id] = words[i]
	}
	refused, err := json.Marshal(byID)
	if err != nil {
		return err
	}

	now := s.dialect.bind(state.now)
	if err := tx.SelectContext(ctx, rows, recordStaleSQL, now, s.dialect.bind(state.ServiceableSince.Time), state.threshold.Milliseconds(),
		state.fast.Milliseconds(), policy.Tolerance.Milliseconds(), state.chunk, policy.Actor, string(refused)); err != nil || len(*rows) == 0 {
		return err
	}

	first := (*rows)[0].ID
	for _, r := range *rows {
		first = min(first, r.ID)
	}

	_, err = tx.ExecContext(ctx, `UPDATE meeting_controllers SET stale = true, updated_at = ?,
		health_status = CASE WHEN operator_draining OR reported_status = 'draining' THEN 'draining' ELSE 'unhealthy' END
		WHERE controller_id IN (SELECT controller_id FROM controller_transitions WHERE id >= ?)`, now, first)
	return err
}
