package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// change is the public state of a controller before and after a statement.
type change struct {
	ControllerID string `db:"controller_id"`
	Region       string `db:"region"`
	// From is NULL for a new controller.
	From sql.NullString `db:"from_status"`
	To   string         `db:"to_status"`
	At   dbTime         `db:"at"`
	// Before is the time of the last heartbeat or registration before the change; nil for a new controller.
	Before *dbTime `db:"before"`
	// EndsStaleness is true if the controller was stale before the change and is not after it.
	EndsStaleness bool `db:"ends_staleness"`
}

// transition converts the change to an entry of the history. It returns nil if neither the public state nor the staleness
// changed.
func (c change) transition(cause service.Cause, actor, reason string, reported service.HealthStatus) *service.Transition {
	if c.From.String == c.To && !c.EndsStaleness {
		return nil
	}

	t := &service.Transition{
		ControllerID: c.ControllerID,
		Region:       c.Region,
		At:           c.At.Time,
		From:         service.HealthStatus(c.From.String),
		To:           service.HealthStatus(c.To),
		Cause:        cause,
		Actor:        actor,
		Reason:       reason,
		Reported:     reported,
	}
	if c.Before != nil {
		t.Silence = silenceUntil(c.At.Time, c.Before.Time)
	}
	return t
}

// changeByCall returns the change of the row to a public state by a call of the controller, which ends its staleness.
func (r row) changeByCall(now time.Time, to service.HealthStatus) change {
	c := r.changeTo(now, to)
	c.EndsStaleness = r.Stale
	return c
}

// changeTo returns the change of the row to a public state.
func (r row) changeTo(now time.Time, to service.HealthStatus) change {
	return change{
		ControllerID: r.ControllerID,
		Region:       r.Region,
		From:         sql.NullString{String: r.Health, Valid: true},
		To:           string(to),
		At:           dbTime{now},
		Before:       &r.LastHeartbeatAt,
	}
}

const insertTransitionsSQL = `INSERT INTO controller_transitions
	(controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status) VALUES `

// recordTransitions adds transitions to the history. It ignores those that are nil.
func (s *Store) recordTransitions(ctx context.Context, tx *sqlx.Tx, transitions ...*service.Transition) error {
	var values []any
	rows := 0
	for _, t := range transitions {
		if t == nil {
			continue
		}
		rows++
		values = append(values, t.ControllerID, t.Region, s.dialect.bind(t.At), nullIfEmpty(string(t.From)), string(t.To),
			string(t.Cause), t.Actor, t.Reason, t.Silence.Milliseconds(), string(t.Reported))
	}
	if rows == 0 {
		return nil
	}

	placeholders := strings.Repeat(", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)[2:]
	_, err := tx.ExecContext(ctx, tx.Rebind(insertTransitionsSQL+placeholders), values...)
	return err
}
