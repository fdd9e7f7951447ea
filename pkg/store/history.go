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

// clockStep is by how much the database's clock may have been set back for a search by time to find everything: the
// changes that it looks through begin that much earlier, and end that much later.
const clockStep = time.Hour

// Transitions implements [service.Store].
func (s *Store) Transitions(ctx context.Context, filter service.TransitionFilter) (service.TransitionList, error) {
	return run(ctx, s, "transitions", func(ctx context.Context) (none service.TransitionList, _ error) {
		end, err := s.historyEnd(ctx)
		if err != nil {
			return none, err
		}
		if err := s.checkCursor(ctx, filter, end.newest); err != nil {
			return none, err
		}
		list := service.TransitionList{Transitions: []service.Transition{}, Through: end.through.transition().Cursor()}
		first, last, err := s.idsBetween(ctx, filter, end.through.ID)
		if err != nil || first > last {
			return list, err
		}

		query, values := transitionsQuery(filter, first, last, s.dialect.bind)
		var found []transitionRow
		if err := s.read.SelectContext(ctx, &found, s.read.Rebind(query), values...); err != nil {
			return none, err
		}
		for _, r := range found {
			list.Transitions = append(list.Transitions, r.transition())
		}
		return list, nil
	})
}

// transitionsQuery selects by a range of one index, in whose order the changes are returned, and by what else the filter
// says. Pairs are compared so that no other index has that order: one by ids alone would be read through all that others
// did since a controller last changed. IS TRUE keeps the databases from reading by time instead, and sorting what may be
// millions of changes.
func transitionsQuery(filter service.TransitionFilter, first, last int64, bind func(time.Time) any) (query string, values []any) {
	columns := ""
	switch {
	case filter.ControllerID != "":
		columns, values = "controller_id", []any{filter.ControllerID, first, filter.ControllerID, last}
	case filter.Region != "":
		columns, values = "region", []any{filter.Region, first, filter.Region, last}
	}
	query, order, newestFirst := selectTransitions+` WHERE id >= ? AND id <= ?`, ` ORDER BY id LIMIT ?`, ` ORDER BY id DESC LIMIT ?`
	if columns == "" {
		values = []any{first, last}
	} else {
		query = selectTransitions + ` WHERE (` + columns + `, id) >= (?, ?) AND (` + columns + `, id) <= (?, ?)`
		order, newestFirst = ` ORDER BY `+columns+`, id LIMIT ?`, ` ORDER BY `+columns+` DESC, id DESC LIMIT ?`
	}
	if filter.ControllerID != "" && filter.Region != "" {
		query, values = query+` AND region = ?`, append(values, filter.Region)
	}
	if !filter.Since.IsZero() {
		query, values = query+` AND (at >= ?) IS TRUE`, append(values, bind(filter.Since))
	}
	if !filter.Until.IsZero() {
		query, values = query+` AND (at < ?) IS TRUE`, append(values, bind(filter.Until))
	}
	if filter.NewestFirst {
		order = newestFirst
	}
	return query + order, append(values, filter.Limit)
}

// checkCursor returns [service.ErrGone] where the history does not go on after the filter's change.
func (s *Store) checkCursor(ctx context.Context, filter service.TransitionFilter, newest int64) error {
	if filter.After == 0 {
		return nil
	}
	if filter.After > newest {
		return service.ErrGone
	}
	if filter.Fingerprint != "" {
		at, err := s.transitionBy(ctx, withID, filter.After)
		if err == nil && at.transition().Fingerprint() != filter.Fingerprint {
			err = service.ErrGone
		}
		return err
	}

	oldest, err := s.transitionBy(ctx, oldestFirst)
	if err == nil && filter.After < oldest.ID-1 {
		err = service.ErrGone
	}

	return err
}

// idsBetween returns the first and the last id that can be of what the filter selects. It is what makes a search by time
// as cheap as one by ids: the two rise together, but for a clock that was set.
func (s *Store) idsBetween(ctx context.Context, filter service.TransitionFilter, through int64) (first, last int64, _ error) {
	first, last = filter.After+1, through
	if filter.Before > 0 {
		last = min(last, filter.Before-1)
	}
	if !filter.Since.IsZero() {
		before, err := s.transitionBy(ctx, lastBefore, s.dialect.bind(filter.Since.Add(-clockStep)))
		if err != nil {
			return 0, 0, err
		}
		first = max(first, before.ID+1)
	}
	if !filter.Until.IsZero() {
		behind, err := s.transitionBy(ctx, firstSince, s.dialect.bind(filter.Until.Add(clockStep)))
		if err != nil {
			return 0, 0, err
		}
		if behind.ID != 0 {
			last = min(last, behind.ID)
		}
	}

	return first, last, nil
}
