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
	// sweepLead makes a sweep due a little before its interval has passed. The sweep itself takes time, and the
	// guarantee is that a controller is marked stale within its threshold and one interval.
	sweepLead = 250 * time.Millisecond

	// firstChunk, minChunk and maxChunk are how many controllers a chunk of a sweep marks. A chunk takes a small part
	// of the store's timeout: if a whole region fails, it must not time out again and again. Controllers that return
	// meanwhile wait only briefly for the rows.
	firstChunk, minChunk, maxChunk = 1000, 50, 5000
	// After a chunk that takes less than 1/quickChunkPart of the store's timeout, the next one is twice as large. After one
	// that takes more than 1/slowChunkPart, or fails, it is half as large.
	quickChunkPart, slowChunkPart = 20, 4

	// failureRetention is longer than any threshold.
	failureRetention = 25 * time.Hour
)

// checkerState is the state that the vouching beats have written. BeatAt is the time of the last one.
type checkerState struct {
	BeatAt           dbTime `db:"beat_at"`
	ServiceableSince dbTime `db:"serviceable_since"`
	GapBeganAt       dbTime `db:"gap_began_at"`
}

// readCheckerState returns [sql.ErrNoRows] before the first beat.
func (s *Store) readCheckerState(ctx context.Context, tx *sqlx.Tx) (state checkerState, _ error) {
	err := tx.GetContext(ctx, &state, `SELECT beat_at, serviceable_since, gap_began_at FROM checker_state WHERE id = 1`)
	return state, err
}

// isFresh reports whether the last beat shows that heartbeats can be committed now. A beat in the future was committed
// before the clock was set back.
func (c checkerState) isFresh(now time.Time, tolerance time.Duration) bool {
	return now.Sub(c.BeatAt.Time).Abs() <= tolerance
}

// isOnHold reports whether less than a threshold has passed since heartbeats could be committed again.
func (c checkerState) isOnHold(now time.Time, threshold time.Duration) bool {
	return now.Sub(c.ServiceableSince.Time) < threshold
}

// sweepState is the state on which a sweep decides.
type sweepState struct {
	checkerState
	sweptAt      time.Time
	now          time.Time
	threshold    time.Duration
	fastInterval time.Duration
	chunk        int // the maximum number of controllers to mark
}

// timeToSweep returns the time until the next sweep is due; 0 or less means now. A sweep in the future ended before the
// clock was set back.
func (s sweepState) timeToSweep(interval time.Duration) time.Duration {
	elapsed := s.now.Sub(s.sweptAt)
	if elapsed < 0 {
		return 0
	}

	next := interval - sweepLead - elapsed
	// During the hold after an outage a sweep marks no controller, so one is due as soon as the hold ends.
	if end := s.ServiceableSince.Add(s.threshold); s.sweptAt.Before(end) {
		next = min(next, end.Sub(s.now))
	}
	return next
}

// Sweep implements [service.Sweeper].
func (s *Store) Sweep(ctx context.Context, policy service.SweepPolicy) (service.SweepResult, error) {
	began := time.Now()
	result, err := transact(ctx, s, s.checkerDB, sweepOperation, func(ctx context.Context, tx *sqlx.Tx) (service.SweepResult, error) {
		return s.runSweep(ctx, tx, policy)
	})

	s.adaptChunk(time.Since(began), result.More, err != nil)
	if len(result.Transitions) > 0 {
		s.announcer.announceTransitions()
	}
	return result, err
}

// adaptChunk changes the size of the next chunk after one that took the given time.
func (s *Store) adaptChunk(took time.Duration, isFull, isFailed bool) {
	chunk := s.sweepChunk.Load()
	switch {
	case isFailed, took > s.timeout/slowChunkPart:
		s.sweepChunk.Store(max(minChunk, chunk/2))
	case isFull && took < s.timeout/quickChunkPart:
		s.sweepChunk.Store(min(maxChunk, 2*chunk))
	}
}

// runSweep marks one chunk of controllers if a sweep is due.
func (s *Store) runSweep(ctx context.Context, tx *sqlx.Tx, policy service.SweepPolicy) (service.SweepResult, error) {
	sweptAt, isLocked, err := s.lockSweep(ctx, tx)
	if err != nil {
		return service.SweepResult{}, err
	}
	state, err := s.readSweepState(ctx, tx, policy)
	if err != nil {
		return service.SweepResult{}, err
	}
	state.sweptAt = sweptAt
	state.chunk = int(s.sweepChunk.Load())

	isFresh := state.isFresh(state.now, policy.Tolerance)
	result := service.SweepResult{Hold: !isFresh || state.isOnHold(state.now, state.threshold)}
	if due := state.timeToSweep(policy.Interval); due > 0 {
		result.NextIn = due
		return result, nil
	}
	if !isLocked || !isFresh {
		// Another replica sweeps and may fail, or the next beat decides.
		result.NextIn = sweepLead
		return result, nil
	}

	result.Swept = true
	if !result.Hold {
		if result.Transitions, err = s.markStale(ctx, tx, state, policy); err != nil {
			return service.SweepResult{}, err
		}
		if result.More = len(result.Transitions) >= state.chunk; result.More {
			return result, nil
		}
	}

	if err := s.endSweep(ctx, tx, state.now); err != nil {
		return service.SweepResult{}, err
	}
	state.sweptAt = state.now
	result.NextIn = max(0, state.timeToSweep(policy.Interval))
	return result, nil
}

// lockSweep returns the time of the last sweep, and whether this transaction has locked the sweep. If it has not, another
// replica sweeps now.
func (s *Store) lockSweep(ctx context.Context, tx *sqlx.Tx) (sweptAt time.Time, isLocked bool, _ error) {
	const selectSweptAt = `SELECT swept_at FROM checker_sweeps WHERE id = 1`
	var found dbTime
	err := tx.GetContext(ctx, &found, selectSweptAt+s.dialect.selectSkipLockedSQL)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.GetContext(ctx, &found, selectSweptAt)
		return found.Time, false, err
	}
	return found.Time, true, err
}

// endSweep records the end of a sweep and deletes old records of the checker.
func (s *Store) endSweep(ctx context.Context, tx *sqlx.Tx, now time.Time) error {
	if _, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE checker_sweeps SET swept_at = ? WHERE id = 1`), s.dialect.bind(now)); err != nil {
		return err
	}

	for _, old := range []struct {
		statement string
		retention time.Duration
	}{
		{statement: `DELETE FROM heartbeat_failures WHERE failed_at < ?`, retention: failureRetention},
		{statement: `DELETE FROM replicas WHERE seen_at < ?`, retention: replicaRetention},
	} {
		if _, err := tx.ExecContext(ctx, tx.Rebind(old.statement), s.dialect.bind(now.Add(-old.retention))); err != nil {
			return err
		}
	}
	return nil
}

// readSweepState reads the clock and the state of the checker. Before the first beat the state is that of a beat long ago.
func (s *Store) readSweepState(ctx context.Context, tx *sqlx.Tx, policy service.SweepPolicy) (state sweepState, err error) {
	if state.checkerState, err = s.readCheckerState(ctx, tx); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return state, err
	}
	var replicas []replicaRow
	if err := tx.SelectContext(ctx, &replicas, `SELECT staleness_threshold_ms, fast_interval_ms, seen_at FROM replicas`); err != nil {
		return state, err
	}
	if state.now, err = s.readNow(ctx, tx); err != nil {
		return state, err
	}

	state.threshold, state.fastInterval = policy.Threshold, policy.FastInterval
	for _, r := range replicas {
		threshold := milliseconds(r.ThresholdMS)
		if state.isInUse(r.SeenAt.Time, threshold) {
			state.threshold = max(state.threshold, threshold)
			state.fastInterval = max(state.fastInterval, milliseconds(r.FastMS))
		}
	}

	return state, nil
}

// isInUse reports whether the settings of a replica that was last seen at a time are still in use. A controller that it
// acknowledged last may use them for one threshold of serviceable time.
func (s sweepState) isInUse(seenAt time.Time, threshold time.Duration) bool {
	if s.now.Sub(seenAt) <= threshold {
		return true
	}
	return s.now.Sub(s.ServiceableSince.Time) <= threshold && s.GapBeganAt.Sub(seenAt) <= threshold
}
