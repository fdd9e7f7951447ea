package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"darktower.example/global-controller/service"
)

// transitionRow is a stored transition.
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
	SilenceMS    int64          `db:"silence_ms"`
	Reported     string         `db:"reported_status"`
}

const selectTransitions = `SELECT id, controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status
	FROM controller_transitions`

func (r transitionRow) transition() service.Transition {
	return service.Transition{
		ID:           r.ID,
		ControllerID: r.ControllerID,
		Region:       r.Region,
		At:           r.At.Time,
		From:         service.HealthStatus(r.From.String),
		To:           service.HealthStatus(r.To),
		Cause:        service.Cause(r.Cause),
		Actor:        r.Actor,
		Reason:       r.Reason,
		Silence:      milliseconds(r.SilenceMS),
		Reported:     service.HealthStatus(r.Reported),
	}
}

// maxClockStep is how far the database's clock may have been set back without hiding transitions from a search by time.
// The search includes transitions that are that much older, and that much newer, than its limits.
const maxClockStep = time.Hour

// Transitions implements [service.Store].
func (s *Store) Transitions(ctx context.Context, filter service.TransitionFilter) (service.TransitionList, error) {
	return run(ctx, s, "transitions", func(ctx context.Context) (service.TransitionList, error) {
		end, err := s.waitForHistoryTail(ctx)
		if err != nil {
			return service.TransitionList{}, err
		}
		if err := s.checkCursor(ctx, filter, end.newest); err != nil {
			return service.TransitionList{}, err
		}

		list := service.TransitionList{Transitions: []service.Transition{}, Through: end.through.transition().Cursor()}
		first, last, err := s.rangeOfIDs(ctx, filter, end.through.ID)
		if err != nil || first > last {
			return list, err
		}

		query, values := transitionsQuery(filter, first, last, s.dialect.bind)
		var found []transitionRow
		if err := s.readDB.SelectContext(ctx, &found, s.readDB.Rebind(query), values...); err != nil {
			return service.TransitionList{}, err
		}

		for _, r := range found {
			list.Transitions = append(list.Transitions, r.transition())
		}
		return list, nil
	})
}

// transitionsQuery selects by a range of one index, in the order of the result, and then by the rest of the filter.
//
// It compares pairs of a column and the id, so that no other index has the order of the result. An index by id alone would
// be read through all transitions of other controllers. IS TRUE prevents the databases from reading by time instead, and
// sorting what may be millions of transitions.
func transitionsQuery(filter service.TransitionFilter, first, last int64, bind func(time.Time) any) (query string, values []any) {
	column := ""
	switch {
	case filter.ControllerID != "":
		column = "controller_id"
		values = []any{filter.ControllerID, first, filter.ControllerID, last}
	case filter.Region != "":
		column = "region"
		values = []any{filter.Region, first, filter.Region, last}
	default:
		values = []any{first, last}
	}

	query = selectTransitions + ` WHERE id >= ? AND id <= ?`
	oldestFirst, newestFirst := ` ORDER BY id LIMIT ?`, ` ORDER BY id DESC LIMIT ?`
	if column != "" {
		query = selectTransitions + ` WHERE (` + column + `, id) >= (?, ?) AND (` + column + `, id) <= (?, ?)`
		oldestFirst = ` ORDER BY ` + column + `, id LIMIT ?`
		newestFirst = ` ORDER BY ` + column + ` DESC, id DESC LIMIT ?`
	}

	if filter.ControllerID != "" && filter.Region != "" {
		query += ` AND region = ?`
		values = append(values, filter.Region)
	}
	if !filter.Since.IsZero() {
		query += ` AND (at >= ?) IS TRUE`
		values = append(values, bind(filter.Since))
	}
	if !filter.Until.IsZero() {
		query += ` AND (at < ?) IS TRUE`
		values = append(values, bind(filter.Until))
	}

	order := oldestFirst
	if filter.NewestFirst {
		order = newestFirst
	}
	return query + order, append(values, filter.Limit)
}

// checkCursor returns [service.ErrGone] if the history does not continue after the filter's transition.
func (s *Store) checkCursor(ctx context.Context, filter service.TransitionFilter, newest int64) error {
	if filter.After == 0 {
		return nil
	}
	if filter.After > newest {
		return service.ErrGone
	}

	if filter.Fingerprint != "" {
		found, err := s.findTransition(ctx, byID, filter.After)
		if err == nil && found.transition().Fingerprint() != filter.Fingerprint {
			err = service.ErrGone
		}
		return err
	}

	oldest, err := s.findTransition(ctx, oldestTransition)
	if err == nil && filter.After < oldest.ID-1 {
		err = service.ErrGone
	}
	return err
}

// rangeOfIDs returns the range of ids that contains all transitions of the filter. It makes a search by time as cheap as
// one by ids: ids and times increase together, unless the clock was set.
func (s *Store) rangeOfIDs(ctx context.Context, filter service.TransitionFilter, through int64) (first, last int64, _ error) {
	first, last = filter.After+1, through
	if filter.Before > 0 {
		last = min(last, filter.Before-1)
	}

	if !filter.Since.IsZero() {
		before, err := s.findTransition(ctx, lastBefore, s.dialect.bind(filter.Since.Add(-maxClockStep)))
		if err != nil {
			return 0, 0, err
		}
		first = max(first, before.ID+1)
	}
	if !filter.Until.IsZero() {
		after, err := s.findTransition(ctx, firstSince, s.dialect.bind(filter.Until.Add(maxClockStep)))
		if err != nil {
			return 0, 0, err
		}
		if after.ID != 0 {
			last = min(last, after.ID)
		}
	}

	return first, last, nil
}

// The clauses that select one transition.
const (
	newestTransition = ` ORDER BY id DESC LIMIT 1`
	oldestTransition = ` ORDER BY id LIMIT 1`
	byID             = ` WHERE id = ?`
	lastBefore       = ` WHERE at < ? ORDER BY at DESC LIMIT 1`
	firstSince       = ` WHERE at >= ? ORDER BY at LIMIT 1`
)

// findTransition returns the transition that a clause selects; its ID is 0 if there is none.
func (s *Store) findTransition(ctx context.Context, clause string, values ...any) (found transitionRow, _ error) {
	err := s.readDB.GetContext(ctx, &found, s.readDB.Rebind(selectTransitions+clause), values...)
	if errors.Is(err, sql.ErrNoRows) {
		return transitionRow{}, nil
	}
	return found, err
}
