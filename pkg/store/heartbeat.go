package store

import (
	"context"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// Heartbeat implements [service.Store].
func (s *Store) Heartbeat(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	if !s.dialect.oneStatement {
		return transact(ctx, s, "heartbeat", func(ctx context.Context, tx *sqlx.Tx) (service.HeartbeatResult, error) {
			return s.heartbeatInSteps(ctx, tx, h)
		})
	}
	return run(ctx, s, "heartbeat", func(ctx context.Context) (service.HeartbeatResult, error) {
		// Read to the end, not just the one row: the statement is committed only then.
		var heard []change
		if err := s.write.SelectContext(ctx, &heard, heartbeatStatement, heartbeatValues(h)...); err != nil {
			return service.HeartbeatResult{}, err
		}
		if len(heard) == 0 {
			return service.HeartbeatResult{}, service.ErrNotRegistered
		}
		return service.HeartbeatResult{
			At:         heard[0].At.Time,
			Transition: heard[0].transition(service.CauseHeartbeat, h.Actor, heartbeatReason(h), h.Reported),
		}, nil
	})
}

func heartbeatReason(h service.HeartbeatWrite) string { return "reported " + string(h.Reported) }

func heartbeatValues(h service.HeartbeatWrite) []any {
	var cpu, memory *float64
	if h.Usage != nil {
		cpu, memory = &h.Usage.CPUPercent, &h.Usage.MemoryPercent
	}
	return []any{h.ControllerID, h.CurrentMeetings, h.CurrentParticipants, string(h.Reported), cpu, memory, h.Actor, heartbeatReason(h)}
}

// heartbeatStatement stores heartbeats and what they change in one round trip. "old" locks the rows, in the order of
// their ids so that two statements cannot wait for each other, and shows them as they are once locked; what follows
// reads the clock only then. "beat" may hold many rows of different controllers.
const heartbeatStatement = `WITH beat (controller_id, current_meetings, current_participants, reported_status, cpu, memory, actor, reason) AS (
	VALUES ($1::varchar, $2::int, $3::int, $4::varchar, $5::double precision, $6::double precision, $7::text, $8::text)
), old AS MATERIALIZED (
	SELECT m.controller_id, m.health_status, m.last_heartbeat_at, m.operator_draining
	FROM meeting_controllers AS m JOIN beat USING (controller_id) ORDER BY m.controller_id FOR UPDATE OF m
), heard AS (
	UPDATE meeting_controllers AS m SET current_meetings = f.current_meetings, current_participants = f.current_participants,
		cpu_usage_percent = coalesce(f.cpu, m.cpu_usage_percent), memory_usage_percent = coalesce(f.memory, m.memory_usage_percent),
		reported_status = f.reported_status, stale = f.stale, health_status = ` + healthSQL + `, last_heartbeat_at = clock_timestamp()
	FROM (SELECT beat.*, old.operator_draining, false AS stale FROM old JOIN beat USING (controller_id)) AS f
	WHERE m.controller_id = f.controller_id
	RETURNING m.controller_id, m.region, m.health_status, m.reported_status, m.last_heartbeat_at
), history AS (
	INSERT INTO controller_transitions (controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
	SELECT controller_id, heard.region, heard.last_heartbeat_at, old.health_status, heard.health_status, 'heartbeat', beat.actor, beat.reason,
		greatest(0, floor(extract(epoch FROM heard.last_heartbeat_at - old.last_heartbeat_at) * 1000))::bigint, heard.reported_status
	FROM heard JOIN old USING (controller_id) JOIN beat USING (controller_id) WHERE heard.health_status <> old.health_status
)
SELECT controller_id, heard.region, old.health_status AS from_status, heard.health_status AS to_status,
	heard.last_heartbeat_at AS at, old.last_heartbeat_at AS before
FROM heard JOIN old USING (controller_id)`

// heartbeatInSteps does the same within a transaction of a database that is part of this process, where no round trip
// is to be saved.
func (s *Store) heartbeatInSteps(ctx context.Context, tx *sqlx.Tx, h service.HeartbeatWrite) (none service.HeartbeatResult, _ error) {
	old, err := s.lock(ctx, tx, h.ControllerID)
	if err != nil {
		return none, err
	}
	if old == nil {
		return none, service.ErrNotRegistered
	}
	now, err := s.now(ctx, tx)
	if err != nil {
		return none, err
	}
	facts := service.Facts{Reported: h.Reported, OperatorDraining: old.OperatorDraining}
	set := `UPDATE meeting_controllers SET current_meetings = ?, current_participants = ?, reported_status = ?, stale = false, health_status = ?, last_heartbeat_at = ?`
	values := []any{h.CurrentMeetings, h.CurrentParticipants, string(h.Reported), string(facts.Health()), s.dialect.bind(now)}
	if h.Usage != nil {
		set += `, cpu_usage_percent = ?, memory_usage_percent = ?`
		values = append(values, h.Usage.CPUPercent, h.Usage.MemoryPercent)
	}
	if _, err := tx.ExecContext(ctx, tx.Rebind(set+` WHERE controller_id = ?`), append(values, h.ControllerID)...); err != nil {
		return none, err
	}
	transition := old.changed(now, facts.Health()).transition(service.CauseHeartbeat, h.Actor, heartbeatReason(h), h.Reported)
	return service.HeartbeatResult{At: now, Transition: transition}, s.record(ctx, tx, transition)
}
