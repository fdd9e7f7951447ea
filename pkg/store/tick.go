package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// sweepEarly makes a sweep due a little before its interval is over: the sweep itself takes time, and the promise is
// the threshold and one interval.
const sweepEarly = 250 * time.Millisecond

type checkerState struct {
	BeatAt           dbTime `db:"beat_at"`
	ServiceableSince dbTime `db:"serviceable_since"`
	SweptAt          dbTime `db:"swept_at"`
}

// Tick implements [service.Sweeper].
func (s *Store) Tick(ctx context.Context, policy service.SweepPolicy) (result service.SweepResult, err error) {
	err = s.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if s.dialect.lockTable != "" {
			// A table that heartbeats cannot write to is an outage, whatever else the database can do.
			if _, err := tx.ExecContext(ctx, s.dialect.lockTable); err != nil {
				return err
			}
		}
		// A row long before any clock, so that the first tick of all finds a gap.
		long := s.dialect.bind(time.Unix(0, 0))
		if _, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO checker_state (id, beat_at, serviceable_since, swept_at) VALUES (1, ?, ?, ?) ON CONFLICT (id) DO NOTHING`),
			long, long, long); err != nil {
			return err
		}
		var state checkerState
		err := tx.GetContext(ctx, &state, `SELECT beat_at, serviceable_since, swept_at FROM checker_state WHERE id = 1`+s.dialect.skipLocked)
		if errors.Is(err, sql.ErrNoRows) {
			result = service.SweepResult{NextIn: policy.Interval} // Another replica is at it.
			return nil
		}
		if err != nil {
			return err
		}
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		since, swept := state.ServiceableSince.Time, state.SweptAt.Time
		result = service.SweepResult{}
		// A clock that was set back is a gap as well: what it says of the time before is worth nothing.
		if pause := now.Sub(state.BeatAt.Time); pause > policy.Tolerance || pause < -policy.Tolerance {
			since, result.Gap = now, true
		}
		result.Hold = now.Sub(since) < policy.Threshold
		if elapsed := now.Sub(swept); elapsed >= policy.Interval-sweepEarly || elapsed < 0 {
			swept, result.Swept = now, true
			if !result.Hold {
				if result.Transitions, err = s.markStale(ctx, tx, now, policy); err != nil {
					return err
				}
			}
		}
		result.NextIn = max(0, policy.Interval-sweepEarly-now.Sub(swept))
		_, err = tx.ExecContext(ctx, tx.Rebind(`UPDATE checker_state SET beat_at = ?, serviceable_since = ?, swept_at = ? WHERE id = 1`),
			s.dialect.bind(now), s.dialect.bind(since), s.dialect.bind(swept))
		return err
	})
	if err != nil {
		return service.SweepResult{}, fmt.Errorf("tick: %w", err)
	}
	return result, nil
}

// markStale marks who has been silent for longer than the threshold. A row that somebody is writing is passed over:
// that controller is being heard right now. A heartbeat from the future was stored before the clock was set back, and
// after a full threshold of service every living controller has been heard since.
func (s *Store) markStale(ctx context.Context, tx *sqlx.Tx, now time.Time, policy service.SweepPolicy) ([]service.Transition, error) {
	var silent []row
	err := tx.SelectContext(ctx, &silent, tx.Rebind(selectControllers+` WHERE NOT stale AND (last_heartbeat_at < ? OR last_heartbeat_at > ?)
		ORDER BY controller_id`+s.dialect.skipLocked), s.dialect.bind(now.Add(-policy.Threshold)), s.dialect.bind(now.Add(policy.Threshold)))
	if err != nil {
		return nil, err
	}
	var transitions []service.Transition
	for _, r := range silent {
		facts := r.facts()
		facts.Stale = true
		if _, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE meeting_controllers SET stale = true, health_status = ? WHERE controller_id = ?`),
			string(facts.Health()), r.ControllerID); err != nil {
			return nil, err
		}
		quiet := silence(now, r.LastHeartbeatAt.Time)
		change, err := s.record(ctx, tx, service.Transition{
			ControllerID: r.ControllerID, Region: r.Region, At: now, From: service.HealthStatus(r.Health), To: facts.Health(), Cause: service.CauseStale,
			Actor: policy.Actor, Reason: "no heartbeat for " + quiet.Round(time.Millisecond).String(), Silence: quiet, Reported: facts.Reported,
		})
		if err != nil {
			return nil, err
		}
		if change != nil {
			transitions = append(transitions, *change)
		}
	}
	return transitions, nil
}
