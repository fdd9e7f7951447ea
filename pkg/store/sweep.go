package store

import (
	"cmp"
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
	// How many controllers a chunk of a sweep marks: as many as the store marks in a small part of its bound, so that the end of
	// a whole region cannot outlast it, be undone and tried again for ever, and controllers that come back meanwhile wait only a
	// little for the rows.
	firstChunk, smallestChunk, largestChunk = 1000, 50, 5000
	// A chunk that takes less than a twentieth of the store's bound is followed by one twice as large; one that takes more
	// than a quarter, or fails, by half as many.
	quickChunk, slowChunk = 20, 4
	// failuresKeptFor is longer than any threshold.
	failuresKeptFor = 25 * time.Hour
)

// checkerState is what the beats left.
type checkerState struct {
	BeatAt           dbTime `db:"beat_at"`
	ServiceableSince dbTime `db:"serviceable_since"`
	GapBeganAt       dbTime `db:"gap_began_at"`
}

// checkerState returns [sql.ErrNoRows] before the first beat of all.
func (s *Store) checkerState(ctx context.Context, tx *sqlx.Tx) (state checkerState, _ error) {
	err := tx.GetContext(ctx, &state, `SELECT beat_at, serviceable_since, gap_began_at FROM checker_state WHERE id = 1`)
	return state, err
}

// isFresh reports whether the last beat shows that heartbeats can be committed now. A beat in the future was committed
// before the clock was set back.
func (c checkerState) isFresh(now time.Time, tolerance time.Duration) bool {
	return now.Sub(c.BeatAt.Time).Abs() <= tolerance
}

func (c checkerState) isHeld(now time.Time, threshold time.Duration) bool {
	return now.Sub(c.ServiceableSince.Time) < threshold
}

// sweepState is the state on which a sweep decides.
type sweepState struct {
	checkerState
	sweptAt   time.Time
	now       time.Time
	threshold time.Duration
	fast      time.Duration
	chunk     int // how many controllers are marked at most
}

// due is how long from now the next sweep is, 0 or less when it is due. A sweep in the future was before the clock was
// set back.
func (s sweepState) due(interval time.Duration) time.Duration {
	elapsed := s.now.Sub(s.sweptAt)
	if elapsed < 0 {
		return 0
	}

	next := interval - sweepEarly - elapsed
	// While an outage is waited out a sweep marks no controller, so one is due as soon as the wait is over.
	if end := s.ServiceableSince.Add(s.threshold); s.sweptAt.Before(end) {
		next = min(next, end.Sub(s.now))
	}

	return next
}

// Sweep implements [service.Sweeper].
func (s *Store) Sweep(ctx context.Context, policy service.SweepPolicy) (service.SweepResult, error) {
	began := time.Now()
	result, err := transact(ctx, s, s.checker, "tick", func(ctx context.Context, tx *sqlx.Tx) (service.SweepResult, error) {
		return s.sweep(ctx, tx, policy)
	})
	s.adaptChunk(time.Since(began), result.More, err != nil)
	if len(result.Transitions) > 0 {
		s.announcements.changed()
	}
	return result, err
}

// adaptChunk changes how many controllers the next chunk of a sweep marks, after one that took so long.
func (s *Store) adaptChunk(took time.Duration, isFull, isFailed bool) {
	chunk := s.sweepChunk.Load()
	switch {
	case isFailed, took > s.timeout/slowChunk:
		s.sweepChunk.Store(max(smallestChunk, chunk/2))
	case isFull && took < s.timeout/quickChunk:
		s.sweepChunk.Store(min(largestChunk, 2*chunk))
	}
}

func (s *Store) sweep(ctx context.Context, tx *sqlx.Tx, policy service.SweepPolicy) (none service.SweepResult, _ error) {
	const selectSwept = `SELECT swept_at FROM checker_sweeps WHERE id = 1`
	var swept dbTime
	err := tx.GetContext(ctx, &swept, selectSwept+s.dialect.skipLocked)
	isOther := errors.Is(err, sql.ErrNoRows)
	if isOther {
		err = tx.GetContext(ctx, &swept, selectSwept)
	}
	if err != nil {
		return none, err
	}

	state, err := s.sweepState(ctx, tx, policy)
	if err != nil {
		return none, err
	}
	state.sweptAt, state.chunk = swept.Time, int(s.sweepChunk.Load())

	result := service.SweepResult{Hold: !state.isFresh(state.now, policy.Tolerance) || state.isHeld(state.now, state.threshold)}
	due := state.due(policy.Interval)
	switch {
	case due > 0:
		result.NextIn = due
		return result, nil
	case isOther, !state.isFresh(state.now, policy.Tolerance):
		// Another replica is sweeping and may fail, or the next beat decides.
		result.NextIn = sweepEarly
		return result, nil
	}

	result.Swept = true
	if !result.Hold {
		if result.Transitions, err = s.markStale(ctx, tx, state, policy); err != nil {
			return none, err
		}
		if result.More = len(result.Transitions) >= state.chunk; result.More {
			return result, nil
		}
	}

	if err := s.endSweep(ctx, tx, state.now); err != nil {
		return none, err
	}
	state.sweptAt = state.now
	result.NextIn = max(0, state.due(policy.Interval))
	return result, nil
}

func (s *Store) endSweep(ctx context.Context, tx *sqlx.Tx, now time.Time) error {
	if _, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE checker_sweeps SET swept_at = ? WHERE id = 1`), s.dialect.bind(now)); err != nil {
		return err
	}

	for _, old := range []struct {
		statement string
		keptFor   time.Duration
	}{
		{`DELETE FROM heartbeat_failures WHERE failed_at < ?`, failuresKeptFor},
		{`DELETE FROM replicas WHERE seen_at < ?`, replicasKeptFor},
	} {
		if _, err := tx.ExecContext(ctx, tx.Rebind(old.statement), s.dialect.bind(now.Add(-old.keptFor))); err != nil {
			return err
		}
	}

	return nil
}

// sweepState reads the clock and what has to hold at that time. Before the first beat of all the state is that of a beat
// long ago.
func (s *Store) sweepState(ctx context.Context, tx *sqlx.Tx, policy service.SweepPolicy) (state sweepState, err error) {
	if state.checkerState, err = s.checkerState(ctx, tx); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return state, err
	}
	var replicas []struct {
		ThresholdMS int64  `db:"staleness_threshold_ms"`
		FastMS      int64  `db:"fast_interval_ms"`
		SeenAt      dbTime `db:"seen_at"`
	}
	if err := tx.SelectContext(ctx, &replicas, `SELECT staleness_threshold_ms, fast_interval_ms, seen_at FROM replicas`); err != nil {
		return state, err
	}
	if state.now, err = s.now(ctx, tx); err != nil {
		return state, err
	}

	state.threshold, state.fast = policy.Threshold, policy.FastInterval
	for _, r := range replicas {
		threshold, fast := time.Duration(r.ThresholdMS)*time.Millisecond, time.Duration(r.FastMS)*time.Millisecond
		if state.isInUse(r.SeenAt.Time, threshold) {
			state.threshold, state.fast = max(state.threshold, threshold), max(state.fast, fast)
		}
	}

	return state, nil
}

// isInUse reports whether the settings of a replica that was last seen at a time are still in use: a controller that it
// acknowledged last may use them for one threshold of serviceable time.
func (s sweepState) isInUse(seenAt time.Time, threshold time.Duration) bool {
	if s.now.Sub(seenAt) <= threshold {
		return true
	}
	return s.now.Sub(s.ServiceableSince.Time) <= threshold && s.GapBeganAt.Sub(seenAt) <= threshold
}

// markedRow is a transition that a sweep recorded.
type markedRow struct {
	ID           int64  `db:"id"`
	ControllerID string `db:"controller_id"`
	Region       string `db:"region"`
	From         string `db:"from_status"`
	To           string `db:"to_status"`
	Reported     string `db:"reported_status"`
	Reason       string `db:"reason"`
	SilenceMS    int64  `db:"silence_ms"`
}

// markStale marks at most a chunk of the controllers that have been silent for longer than their threshold. A row that is
// being written is passed over: that controller is not silent.
func (s *Store) markStale(ctx context.Context, tx *sqlx.Tx, state sweepState, policy service.SweepPolicy) ([]service.Transition, error) {
	var rows []markedRow
	var err error
	if s.dialect.oneStatement {
		err = s.markStalePostgres(ctx, tx, state, policy, &rows)
	} else {
		err = s.markStaleSQLite(ctx, tx, state, policy, &rows)
	}
	if err != nil {
		return nil, err
	}

	slices.SortFunc(rows, func(a, b markedRow) int { return cmp.Compare(a.ControllerID, b.ControllerID) })
	transitions := make([]service.Transition, 0, len(rows))
	for _, r := range rows {
		transitions = append(transitions, service.Transition{
			ControllerID: r.ControllerID,
			Region:       r.Region,
			At:           state.now,
			From:         service.HealthStatus(r.From),
			To:           service.HealthStatus(r.To),
			Cause:        service.CauseStale,
			Actor:        policy.Actor,
			Reason:       r.Reason,
			Silence:      time.Duration(r.SilenceMS) * time.Millisecond,
			Reported:     service.HealthStatus(r.Reported),
		})
	}
	return transitions, nil
}
