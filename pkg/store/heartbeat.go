package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"darktower.example/global-controller/service"
)

// heard is what became of one heartbeat of a statement. Found is false when there was no row to write: no such
// controller, or one whose row somebody else is writing.
type heard struct {
	found      bool
	superseded bool // The row is that of another process, and was left alone.
	at         time.Time
	transition *service.Transition
	intent     service.Intent
}

// answer is what its caller hears of a heartbeat whose row was there.
func (h heard) answer() (service.HeartbeatResult, error) {
	if h.superseded {
		return service.HeartbeatResult{}, service.ErrSuperseded
	}
	return service.HeartbeatResult{At: h.at, Transition: h.transition, Intent: h.intent}, nil
}

// Heartbeat implements [service.Store]. Heartbeats that come at the same time share a statement and a commit.
func (s *Store) Heartbeat(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	if s.unbatched {
		return s.heartbeatAlone(ctx, h)
	}
	return s.batches.do(ctx, h)
}

// heartbeatAlone stores one heartbeat by itself, and waits for a row that somebody else is writing.
func (s *Store) heartbeatAlone(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	began := time.Now()
	results, err := s.hear(ctx, []service.HeartbeatWrite{h}, "")
	switch {
	case err != nil:
		return service.HeartbeatResult{}, err
	case !results[0].found:
		return service.HeartbeatResult{}, service.ErrNotRegistered
	}
	s.batched(1, time.Since(began))
	return results[0].answer()
}

// hear stores heartbeats of different controllers, in the order of their ids, and what they change: one transaction,
// one commit. skip follows the clause that locks rows.
func (s *Store) hear(ctx context.Context, beats []service.HeartbeatWrite, skip string) (results []heard, err error) {
	if s.dialect.oneStatement {
		results, err = direct(ctx, s, "heartbeat", func(ctx context.Context) ([]heard, error) { return s.hearAtOnce(ctx, beats, skip) })
	} else {
		results, err = transact(ctx, s, s.write, "heartbeat", func(ctx context.Context, tx *sqlx.Tx) ([]heard, error) { return s.hearInSteps(ctx, tx, beats) })
	}
	if slices.ContainsFunc(results, func(h heard) bool { return h.transition != nil }) {
		s.announcements.changed()
	}
	return results, err
}

func heartbeatReason(h service.HeartbeatWrite) string { return "reported " + string(h.Reported) }

// noUsage stands for the usage of a fast heartbeat, which leaves the stored one as it is.
const noUsage = -1

// heartbeatStatement stores heartbeats and what they change in one round trip. "old" locks the rows, in the order of
// their ids so that two statements cannot wait for each other, and shows them as they are once locked; what follows
// reads the clock only then. What did not change its state is answered with as little as can be.
func heartbeatStatement(skip string) string {
	return `WITH beat AS (
	SELECT * FROM unnest($1::varchar[], $2::int[], $3::int[], $4::varchar[], $5::double precision[], $6::double precision[], $7::text[], $8::varchar[])
		WITH ORDINALITY AS b (controller_id, current_meetings, current_participants, reported_status, cpu, memory, actor, incarnation, n)
), old AS MATERIALIZED (
	SELECT m.controller_id, m.health_status, m.stale AS was_stale, m.last_heartbeat_at, m.operator_draining,
		beat.current_meetings, beat.current_participants, beat.reported_status, beat.cpu, beat.memory, beat.actor, beat.n,
		beat.incarnation <> '' AND m.incarnation IS NOT NULL AND m.incarnation <> beat.incarnation AS superseded
	FROM meeting_controllers AS m JOIN beat USING (controller_id) ORDER BY m.controller_id FOR UPDATE OF m` + skip + `
), heard AS (
	UPDATE meeting_controllers AS m SET current_meetings = f.current_meetings, current_participants = f.current_participants,
		cpu_usage_percent = coalesce(nullif(f.cpu, -1), m.cpu_usage_percent), memory_usage_percent = coalesce(nullif(f.memory, -1), m.memory_usage_percent),
		reported_status = f.reported_status, stale = f.stale, health_status = ` + healthSQL + `,
		last_heartbeat_at = clock_timestamp(), updated_at = clock_timestamp()
	FROM (SELECT old.*, false AS stale FROM old WHERE NOT old.superseded) AS f
	WHERE m.controller_id = f.controller_id
	RETURNING m.controller_id, m.region, m.health_status, m.reported_status, m.last_heartbeat_at, m.operator_draining, m.drain_until, m.drain_reason,
		f.n, f.actor, f.health_status AS from_status, f.last_heartbeat_at AS before, m.health_status <> f.health_status OR f.was_stale AS changed
), history AS (
	INSERT INTO controller_transitions (controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
	SELECT controller_id, region, last_heartbeat_at, from_status, health_status, 'heartbeat', actor, 'reported ' || reported_status,
		greatest(0, floor(extract(epoch FROM last_heartbeat_at - before) * 1000))::bigint, reported_status
	FROM heard WHERE changed ORDER BY n
)
SELECT n, (extract(epoch FROM last_heartbeat_at) * 1000000)::bigint, CASE WHEN changed THEN region END, from_status, health_status,
	CASE WHEN changed THEN before END, CASE WHEN operator_draining THEN coalesce(drain_reason, '') END,
	CASE WHEN operator_draining THEN drain_until END
FROM heard UNION ALL SELECT n, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM old WHERE superseded`
}

func (s *Store) hearAtOnce(ctx context.Context, beats []service.HeartbeatWrite, skip string) ([]heard, error) {
	var (
		ids, reported, actors  = make(pq.StringArray, len(beats)), make(pq.StringArray, len(beats)), make(pq.StringArray, len(beats))
		incarnations           = make(pq.StringArray, len(beats))
		meetings, participants = make(pq.Int64Array, len(beats)), make(pq.Int64Array, len(beats))
		cpu, memory            = make(pq.Float64Array, len(beats)), make(pq.Float64Array, len(beats))
	)
	for i, h := range beats {
		ids[i], reported[i], actors[i], incarnations[i] = h.ControllerID, string(h.Reported), storable(h.Actor), h.Incarnation
		meetings[i], participants[i] = h.CurrentMeetings, h.CurrentParticipants
		cpu[i], memory[i] = noUsage, noUsage
		if h.Usage != nil {
			cpu[i], memory[i] = h.Usage.CPUPercent, h.Usage.MemoryPercent
		}
	}
	statement := &s.heartbeat.waiting
	if skip != "" {
		statement = &s.heartbeat.skipping
	}
	rows, err := statement.query(ctx, s.heartbeat.db, ids, meetings, participants, reported, cpu, memory, actors, incarnations)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	results := make([]heard, len(beats))
	// Read to the end: the statement is committed only then.
	for rows.Next() {
		var (
			n          int64
			at         sql.NullInt64
			region, to sql.NullString
			drain      sql.NullString
			deadline   *dbTime
			c          change
		)
		if err := rows.Scan(&n, &at, &region, &c.From, &to, &c.Before, &drain, &deadline); err != nil {
			return nil, err
		}
		h := beats[n-1]
		result := &results[n-1]
		result.found = true
		if !at.Valid {
			result.superseded = true
			continue
		}
		c.To, result.at = to.String, time.UnixMicro(at.Int64).UTC()
		result.intent = row{OperatorDraining: drain.Valid, DrainReason: drain, DrainUntil: deadline}.intent()
		if region.Valid {
			c.ControllerID, c.Region, c.At, c.EndsStaleness = h.ControllerID, region.String, dbTime{result.at}, true
			result.transition = c.transition(service.CauseHeartbeat, h.Actor, heartbeatReason(h), h.Reported)
		}
	}
	return results, rows.Err()
}

// storable leaves out what PostgreSQL cannot hold in a text.
func storable(s string) string {
	if strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}

// hearInSteps does the same within a transaction of a database that is part of this process, where no round trip is to
// be saved. Nobody else writes meanwhile.
func (s *Store) hearInSteps(ctx context.Context, tx *sqlx.Tx, beats []service.HeartbeatWrite) (_ []heard, err error) {
	find, err := tx.PreparexContext(ctx, `SELECT region, health_status, stale, operator_draining, drain_until, drain_reason, incarnation,
		last_heartbeat_at FROM meeting_controllers WHERE controller_id = ?`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, find.Close()) }()
	update, err := tx.PreparexContext(ctx, `UPDATE meeting_controllers SET current_meetings = ?, current_participants = ?, reported_status = ?, stale = false,
		health_status = ?, last_heartbeat_at = ?, cpu_usage_percent = coalesce(?, cpu_usage_percent), memory_usage_percent = coalesce(?, memory_usage_percent)
		WHERE controller_id = ?`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, update.Close()) }()
	now, err := s.now(ctx, tx)
	if err != nil {
		return nil, err
	}
	results, changes := make([]heard, len(beats)), []*service.Transition(nil)
	for i, h := range beats {
		old := row{ControllerID: h.ControllerID}
		err := find.QueryRowContext(ctx, h.ControllerID).Scan(
			&old.Region, &old.Health, &old.Stale, &old.OperatorDraining, &old.DrainUntil, &old.DrainReason, &old.Incarnation,
			&old.LastHeartbeatAt,
		)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if h.Incarnation != "" && old.Incarnation.Valid && old.Incarnation.String != h.Incarnation {
			results[i] = heard{found: true, superseded: true}
			continue
		}
		var cpu, memory *float64
		if h.Usage != nil {
			cpu, memory = &h.Usage.CPUPercent, &h.Usage.MemoryPercent
		}
		health := service.Facts{Reported: h.Reported, OperatorDraining: old.OperatorDraining}.Health()
		if _, err := update.ExecContext(ctx, h.CurrentMeetings, h.CurrentParticipants, string(h.Reported), string(health), s.dialect.bind(now), cpu, memory,
			h.ControllerID); err != nil {
			return nil, err
		}
		results[i] = heard{
			found: true, at: now, intent: old.intent(),
			transition: old.changedByCall(now, health).transition(service.CauseHeartbeat, h.Actor, heartbeatReason(h), h.Reported),
		}
		if results[i].transition != nil {
			changes = append(changes, results[i].transition)
		}
	}
	return results, s.record(ctx, tx, changes...)
}

// registered returns which of the ids have a row.
func (s *Store) registered(ctx context.Context, ids []string) (map[string]bool, error) {
	return run(ctx, s, "known", func(ctx context.Context) (map[string]bool, error) {
		var found []string
		// By the connection that the batch has just given back: whatever else waits for the store, heartbeats do not.
		if err := s.heartbeat.db.SelectContext(ctx, &found, `SELECT controller_id FROM meeting_controllers WHERE controller_id = ANY($1)`, pq.StringArray(ids)); err != nil {
			return nil, err
		}
		known := make(map[string]bool, len(found))
		for _, id := range found {
			known[id] = true
		}
		return known, nil
	})
}
