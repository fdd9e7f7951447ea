package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

const (
	findHeartbeatRowSQLite = `SELECT region, health_status, stale, operator_draining, drain_until, drain_reason, incarnation,
		last_heartbeat_at FROM meeting_controllers WHERE controller_id = ?`

	updateHeartbeatRowSQLite = `UPDATE meeting_controllers SET current_meetings = ?, current_participants = ?, reported_status = ?,
		stale = false, health_status = ?, last_heartbeat_at = ?, cpu_usage_percent = coalesce(?, cpu_usage_percent),
		memory_usage_percent = coalesce(?, memory_usage_percent)
		WHERE controller_id = ?`
)

// writeHeartbeatsSQLite is writeHeartbeats by several statements in a transaction that excludes every other writer.
// SQLite runs in this process, so they cost no round trips.
func (s *Store) writeHeartbeatsSQLite(ctx context.Context, tx *sqlx.Tx, heartbeats []service.HeartbeatWrite) (
	_ []heartbeatOutcome, err error,
) {
	find, err := tx.PreparexContext(ctx, findHeartbeatRowSQLite)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, find.Close()) }()

	update, err := tx.PreparexContext(ctx, updateHeartbeatRowSQLite)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, update.Close()) }()

	now, err := s.readNow(ctx, tx)
	if err != nil {
		return nil, err
	}

	outcomes := make([]heartbeatOutcome, len(heartbeats))
	var transitions []*service.Transition
	for i, h := range heartbeats {
		if outcomes[i], err = s.writeHeartbeatSQLite(ctx, find, update, h, now); err != nil {
			return nil, err
		}
		if outcomes[i].transition != nil {
			transitions = append(transitions, outcomes[i].transition)
		}
	}

	return outcomes, s.recordTransitions(ctx, tx, transitions...)
}

// writeHeartbeatSQLite updates the row of one heartbeat. It does not record the transition.
func (s *Store) writeHeartbeatSQLite(ctx context.Context, find, update *sqlx.Stmt, h service.HeartbeatWrite, now time.Time) (
	heartbeatOutcome, error,
) {
	old := row{ControllerID: h.ControllerID}
	err := find.QueryRowContext(ctx, h.ControllerID).Scan(
		&old.Region, &old.Health, &old.Stale, &old.OperatorDraining, &old.DrainUntil, &old.DrainReason, &old.Incarnation,
		&old.LastHeartbeatAt,
	)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return heartbeatOutcome{status: heartbeatUnwritten}, nil
	case err != nil:
		return heartbeatOutcome{}, err
	case h.Incarnation != "" && old.Incarnation.Valid && old.Incarnation.String != h.Incarnation:
		return heartbeatOutcome{status: heartbeatSuperseded}, nil
	}

	var cpu, memory *float64 // NULL keeps the stored usage.
	if h.Usage != nil {
		cpu, memory = &h.Usage.CPUPercent, &h.Usage.MemoryPercent
	}
	health := service.Facts{Reported: h.Reported, OperatorDraining: old.OperatorDraining}.Health()
	if _, err := update.ExecContext(ctx, h.CurrentMeetings, h.CurrentParticipants, string(h.Reported), string(health),
		s.dialect.bind(now), cpu, memory, h.ControllerID); err != nil {
		return heartbeatOutcome{}, err
	}

	outcome := heartbeatOutcome{
		status:     heartbeatStored,
		at:         now,
		intent:     old.intent(),
		transition: old.changeByCall(now, health).transition(service.CauseHeartbeat, h.Actor, heartbeatReason(h), h.Reported),
	}
	if outcome.transition != nil {
		outcome.status = heartbeatChanged
	}
	return outcome, nil
}
