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
	// pruneBatch and retireBatch limit the rows of a pass, so that writers of the history and heartbeats wait only briefly.
	pruneBatch  = 1000
	retireBatch = 500
	// minPruneAge is longer than a transition can be held back because a lower id is missing. The neighbours of such a
	// transition must stay: the gap that pruning leaves would look like an id that can still appear.
	minPruneAge = time.Minute
)

// Prune implements [service.Pruner].
func (s *Store) Prune(ctx context.Context, policy service.RetentionPolicy) (service.RetentionResult, error) {
	result, err := transact(ctx, s, s.writeDB, pruneOperation, func(ctx context.Context, tx *sqlx.Tx) (
		result service.RetentionResult, err error,
	) {
		if s.dialect.pruneLockSQL != "" {
			if err := tx.GetContext(ctx, &result.Ran, s.dialect.pruneLockSQL); err != nil || !result.Ran {
				return result, err
			}
		}
		result.Ran = true

		now, err := s.readNow(ctx, tx)
		if err != nil {
			return result, err
		}
		if policy.History > 0 {
			if result.Pruned, err = s.pruneHistory(ctx, tx, now, policy); err != nil {
				return result, err
			}
		}
		if policy.Stale > 0 {
			if result.Retired, err = s.retireControllers(ctx, tx, now, policy); err != nil {
				return result, err
			}
		}

		result.More = result.Pruned == pruneBatch || len(result.Retired) == retireBatch
		return result, nil
	})

	if len(result.Retired) > 0 {
		s.announcer.announceTransitions()
	}
	return result, err
}

// pruneHistory deletes up to a batch of transitions that are older than the policy allows, and returns their number.
func (s *Store) pruneHistory(ctx context.Context, tx *sqlx.Tx, now time.Time, policy service.RetentionPolicy) (int64, error) {
	var newest sql.NullInt64
	err := tx.GetContext(ctx, &newest, tx.Rebind(`SELECT id FROM controller_transitions WHERE at < ? ORDER BY id DESC LIMIT 1`),
		s.dialect.bind(now.Add(-minPruneAge)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, err
	}

	deleted, err := tx.ExecContext(ctx, tx.Rebind(`DELETE FROM controller_transitions WHERE id IN
		(SELECT id FROM controller_transitions WHERE at < ? AND id < ? ORDER BY at LIMIT ?)`),
		s.dialect.bind(now.Add(-policy.History)), newest.Int64, pruneBatch)
	if err != nil {
		return 0, err
	}
	return deleted.RowsAffected()
}

// retireControllers deletes up to a batch of controllers that have been stale for longer than the policy allows. It
// retires none during an outage of the Global Controller, and for one threshold after it.
func (s *Store) retireControllers(ctx context.Context, tx *sqlx.Tx, now time.Time, policy service.RetentionPolicy) (
	retired []service.Transition, _ error,
) {
	state, err := s.readSweepState(ctx, tx, service.SweepPolicy{Threshold: policy.Threshold})
	if err != nil || !state.isFresh(now, policy.Tolerance) || state.isOnHold(now, state.threshold) {
		return nil, err
	}

	var found []row
	if err := tx.SelectContext(ctx, &found, tx.Rebind(selectControllers+` WHERE stale AND NOT operator_draining AND last_heartbeat_at < ?
		ORDER BY controller_id LIMIT ?`+s.dialect.selectSkipLockedSQL), s.dialect.bind(now.Add(-policy.Stale)), retireBatch); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, nil
	}

	ids := make([]string, 0, len(found))
	transitions := make([]*service.Transition, 0, len(found))
	for _, r := range found {
		reason := service.RetiredReason + policy.Stale.String()
		t := r.changeTo(now, "").transition(service.CauseRetired, policy.Actor, reason, service.HealthStatus(r.Reported))
		ids = append(ids, r.ControllerID)
		transitions = append(transitions, t)
		retired = append(retired, *t)
	}

	if err := s.deleteControllers(ctx, tx, ids); err != nil {
		return nil, err
	}
	return retired, s.recordTransitions(ctx, tx, transitions...)
}
