package store

import (
	"context"
	"database/sql"
	"time"

	"darktower.example/global-controller/service"
)

// transitionRow is a change of public state as it is stored.
type transitionRow struct {
	ID           int64          `db:"id"`
	ControllerID string         `db:"controller_id"`
	Region       string         `db:"region"`
	At           dbTime         `db:"at"`
	From         sql.NullString `db:"from_status"`
	To           string         `db:"to_status"`
	Cause        string         `db:"cause"`
	Actor        string         `db:"actor"`
	Reason       string         `db:"reason"`
	SilenceMs    int64          `db:"silence_ms"`
	Reported     string         `db:"reported_status"`
}

const selectTransitions = `SELECT id, controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status
	FROM controller_transitions`

func (r transitionRow) transition() service.Transition {
	return service.Transition{
		ID: r.ID, ControllerID: r.ControllerID, Region: r.Region, At: r.At.Time, From: service.HealthStatus(r.From.String), To: service.HealthStatus(r.To),
		Cause: service.Cause(r.Cause), Actor: r.Actor, Reason: r.Reason, Silence: time.Duration(r.SilenceMs) * time.Millisecond,
		Reported: service.HealthStatus(r.Reported),
	}
}

// Transitions implements [service.Store].
func (s *Store) Transitions(ctx context.Context, filter service.TransitionFilter) ([]service.Transition, error) {
	query, values := selectTransitions+` WHERE id > ?`+s.dialect.settled, []any{filter.After}
	if filter.ControllerID != "" {
		query, values = query+` AND controller_id = ?`, append(values, filter.ControllerID)
	}
	if filter.Region != "" {
		query, values = query+` AND region = ?`, append(values, filter.Region)
	}
	if filter.Before > 0 {
		query, values = query+` AND id < ?`, append(values, filter.Before)
	}
	if !filter.Since.IsZero() {
		query, values = query+` AND at >= ?`, append(values, s.dialect.bind(filter.Since))
	}
	if !filter.Until.IsZero() {
		query, values = query+` AND at < ?`, append(values, s.dialect.bind(filter.Until))
	}
	order := ` ORDER BY id LIMIT ?`
	if filter.NewestFirst {
		order = ` ORDER BY id DESC LIMIT ?`
	}
	query, values = query+order, append(values, filter.Limit)
	return run(ctx, s, "transitions", func(ctx context.Context) ([]service.Transition, error) {
		var found []transitionRow
		if err := s.read.SelectContext(ctx, &found, s.read.Rebind(query), values...); err != nil {
			return nil, err
		}
		transitions := make([]service.Transition, 0, len(found))
		for _, r := range found {
			transitions = append(transitions, r.transition())
		}
		return transitions, nil
	})
}
