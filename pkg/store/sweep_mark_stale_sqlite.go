package store

import (
	"context"
	"encoding/json"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// recordStaleSQL records the transitions of the controllers that the next statement marks.
var recordStaleSQL = `INSERT INTO controller_transitions
	(controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
SELECT controller_id, region, ?1, health_status, ` + healthSQL + `, 'stale', ?7,
	` + staleReasonSQL + ` || coalesce('; ' || json_extract(?8, '$."' || controller_id || '"'), ''), silence_ms, reported_status
FROM (
	SELECT *, true AS stale, ?1 - CASE WHEN crosses_gap THEN ?2 ELSE last_heartbeat_at END AS silence_ms
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
) AS f ORDER BY controller_id
RETURNING id, controller_id, region, from_status, to_status, reported_status, reason, silence_ms`

// markStaleSQLite marks controllers by two statements in a transaction that excludes every other writer.
func (s *Store) markStaleSQLite(ctx context.Context, tx *sqlx.Tx, state sweepState, policy service.SweepPolicy) (
	rows []markedRow, _ error,
) {
	ids, texts := listRefusals(policy)
	textByID := make(map[string]string, len(ids))
	for i, id := range ids {
		textByID[id] = texts[i]
	}
	refusals, err := json.Marshal(textByID)
	if err != nil {
		return nil, err
	}

	now := s.dialect.bind(state.now)
	if err := tx.SelectContext(ctx, &rows, recordStaleSQL, now, s.dialect.bind(state.ServiceableSince.Time),
		state.threshold.Milliseconds(), state.fastInterval.Milliseconds(), policy.Tolerance.Milliseconds(), state.chunk,
		policy.Actor, string(refusals)); err != nil || len(rows) == 0 {
		return nil, err
	}

	firstID := rows[0].ID
	for _, r := range rows {
		firstID = min(firstID, r.ID)
	}
	_, err = tx.ExecContext(ctx, `UPDATE meeting_controllers AS m SET stale = true, health_status = recorded.to_status, updated_at = ?
		FROM controller_transitions AS recorded WHERE recorded.id >= ? AND m.controller_id = recorded.controller_id`, now, firstID)
	return rows, err
}
