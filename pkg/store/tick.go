package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

const (
	// sweepEarly makes a sweep due a little before its interval is over: the sweep itself takes time, and the promise is
	// the threshold and one interval.
	sweepEarly = 250 * time.Millisecond
	// beatsPerTolerance spares a write when a beat was written this fraction of the tolerance ago, as it will have been
	// where many replicas tick.
	beatsPerTolerance = 4
	// markAtOnce keeps statements below the databases' limits on parameters.
	markAtOnce = 1000
	// sweepAtOnce bounds a sweep, so that the end of a whole region cannot outlast the store's bound, be undone and tried
	// again for ever, and so that those who come back meanwhile wait for few others' rows. What is left is swept at once.
	sweepAtOnce = 2000
)

type checkerState struct {
	BeatAt           dbTime `db:"beat_at"`
	ServiceableSince dbTime `db:"serviceable_since"`
	GapBeganAt       dbTime `db:"gap_began_at"`
	SweptAt          dbTime `db:"swept_at"`
}

const selectCheckerState = `SELECT beat_at, serviceable_since, gap_began_at, swept_at FROM checker_state WHERE id = 1`

// checkerState returns [sql.ErrNoRows] before the first beat of all.
func (s *Store) checkerState(ctx context.Context, tx *sqlx.Tx) (state checkerState, _ error) {
	err := tx.GetContext(ctx, &state, selectCheckerState)
	return state, err
}

// due is how long from now the next sweep is, 0 or less when it is due. A sweep in the future was before the clock was
// set back.
func (c checkerState) due(now time.Time, policy service.SweepPolicy) time.Duration {
	elapsed := now.Sub(c.SweptAt.Time)
	if elapsed < 0 {
		return 0
	}
	next := policy.Interval - sweepEarly - elapsed
	// While an outage is waited out a sweep marks nobody, so one is due as soon as the wait is over.
	if end := c.ServiceableSince.Add(policy.Threshold); c.SweptAt.Before(end) {
		next = min(next, end.Sub(now))
	}
	return next
}

func (c checkerState) hold(now time.Time, policy service.SweepPolicy) bool {
	return now.Sub(c.ServiceableSince.Time) < policy.Threshold
}

// Tick implements [service.Sweeper].
func (s *Store) Tick(ctx context.Context, policy service.SweepPolicy) (service.SweepResult, error) {
	result, err := transact(ctx, s, s.checker, "tick", func(ctx context.Context, tx *sqlx.Tx) (service.SweepResult, error) {
		return s.tick(ctx, tx, policy)
	})
	if len(result.Transitions) > 0 {
		s.announcements.changed()
	}
	return result, err
}

func (s *Store) tick(ctx context.Context, tx *sqlx.Tx, policy service.SweepPolicy) (none service.SweepResult, _ error) {
	state, err := s.lockCheckerState(ctx, tx)
	if errors.Is(err, sql.ErrNoRows) {
		return s.lookOn(ctx, tx, policy)
	}
	if err != nil {
		return none, err
	}
	now, err := s.now(ctx, tx)
	if err != nil {
		return none, err
	}
	var result service.SweepResult
	pause := now.Sub(state.BeatAt.Time)
	// A clock that was set back is a gap as well: what it said of the time before is worth nothing.
	if pause > policy.Tolerance || pause < -policy.Tolerance {
		state.ServiceableSince, result.Gap = dbTime{now}, true
	}
	result.Hold = state.hold(now, policy)
	if state.due(now, policy) <= 0 {
		result.Swept = true
		var more bool
		if !result.Hold {
			if result.Transitions, more, err = s.markStale(ctx, tx, now, policy); err != nil {
				return none, err
			}
		}
		if !more {
			state.SweptAt = dbTime{now}
		}
	}
	result.NextIn = max(0, state.due(now, policy))
	if !result.Gap && !result.Swept && pause >= 0 && pause < policy.Tolerance/beatsPerTolerance {
		return result, nil
	}
	_, err = tx.ExecContext(ctx, tx.Rebind(`UPDATE checker_state SET beat_at = ?, serviceable_since = ?, swept_at = ? WHERE id = 1`),
		s.dialect.bind(now), s.dialect.bind(state.ServiceableSince.Time), s.dialect.bind(state.SweptAt.Time))
	return result, err
}

// lockCheckerState returns [sql.ErrNoRows] when another replica holds the row.
func (s *Store) lockCheckerState(ctx context.Context, tx *sqlx.Tx) (state checkerState, _ error) {
	if s.dialect.lockTable != "" {
		// A table that heartbeats cannot write to is an outage, whatever else the database can do.
		if _, err := tx.ExecContext(ctx, s.dialect.lockTable); err != nil {
			return state, err
		}
	}
	// A row long before any clock, so that the first tick of all finds a gap.
	long := s.dialect.bind(time.Unix(0, 0))
	if _, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO checker_state (id, beat_at, serviceable_since, swept_at) VALUES (1, ?, ?, ?) ON CONFLICT (id) DO NOTHING`),
		long, long, long); err != nil {
		return state, err
	}
	err := tx.GetContext(ctx, &state, selectCheckerState+s.dialect.skipLocked)
	return state, err
}

// lookOn says what can be said while another replica is at it.
func (s *Store) lookOn(ctx context.Context, tx *sqlx.Tx, policy service.SweepPolicy) (none service.SweepResult, _ error) {
	var state checkerState
	if err := tx.GetContext(ctx, &state, selectCheckerState); err != nil {
		return none, err
	}
	now, err := s.now(ctx, tx)
	if err != nil {
		return none, err
	}
	result := service.SweepResult{Hold: state.hold(now, policy), NextIn: state.due(now, policy)}
	if result.NextIn <= 0 {
		// The other is sweeping, and may yet fail at it.
		result.NextIn = sweepEarly
	}
	return result, nil
}

// markStale marks who has been silent for longer than the threshold. A row that somebody is writing is passed over:
// that controller is being heard right now. A heartbeat from the future was stored before the clock was set back, and
// after a full threshold of service every living controller has been heard since.
// It marks only so many, and tells whether there are more.
func (s *Store) markStale(ctx context.Context, tx *sqlx.Tx, now time.Time, policy service.SweepPolicy) (transitions []service.Transition, more bool, _ error) {
	const silence = `NOT stale AND (last_heartbeat_at < ? OR last_heartbeat_at > ?)`
	from, to := s.dialect.bind(now.Add(-policy.Threshold)), s.dialect.bind(now.Add(policy.Threshold))
	var silent []row
	// The limit is set where there is no order, so that nothing tempts the database to walk the whole fleet by its key.
	err := tx.SelectContext(ctx, &silent, tx.Rebind(selectControllers+` WHERE `+silence+`
		AND controller_id IN (SELECT controller_id FROM meeting_controllers WHERE `+silence+` LIMIT ?) ORDER BY controller_id`+s.dialect.skipLocked),
		from, to, from, to, sweepAtOnce)
	if err != nil {
		return nil, false, err
	}
	for some := range slices.Chunk(silent, markAtOnce) {
		ids, changes := make([]string, 0, len(some)), make([]*service.Transition, 0, len(some))
		for _, r := range some {
			facts := r.facts()
			facts.Stale = true
			ids = append(ids, r.ControllerID)
			if t := r.changed(now, facts.Health()).transition(service.CauseStale, policy.Actor, explainStale(now, r, policy), facts.Reported); t != nil {
				changes, transitions = append(changes, t), append(transitions, *t)
			}
		}
		query, values, err := sqlx.In(`UPDATE meeting_controllers AS m SET stale = true, health_status = `+healthSQL+`
			FROM (SELECT controller_id, operator_draining, reported_status, true AS stale FROM meeting_controllers WHERE controller_id IN (?)) AS f
			WHERE m.controller_id = f.controller_id`, ids)
		if err != nil {
			return nil, false, err
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind(query), values...); err != nil {
			return nil, false, err
		}
		if err := s.record(ctx, tx, changes...); err != nil {
			return nil, false, err
		}
	}
	// Some of those found may have been passed over.
	return transitions, len(silent) >= sweepAtOnce/2, nil
}

// explainStale is the reason of a mark. A controller whose calls were refused was not silent.
func explainStale(now time.Time, r row, policy service.SweepPolicy) string {
	reason := staleReason(now, r)
	if policy.Explain == nil {
		return reason
	}
	if more := policy.Explain(r.ControllerID, now.Sub(r.LastHeartbeatAt.Time)); more != "" {
		reason += "; " + more
	}
	return reason
}

func staleReason(now time.Time, r row) string {
	quiet := now.Sub(r.LastHeartbeatAt.Time)
	switch {
	case quiet < 0:
		return "last heard before the database's clock was set back"
	case quiet < time.Second:
		return "no heartbeat for " + quiet.Round(time.Millisecond).String()
	default:
		return "no heartbeat for " + quiet.Round(time.Second).String()
	}
}
