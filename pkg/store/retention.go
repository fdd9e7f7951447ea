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
	// pruneAtOnce and retireAtOnce keep a pass short: those who write the history or a heartbeat wait for little.
	pruneAtOnce  = 1000
	retireAtOnce = 500
	// settling is longer than a change may be held back because one with a lower id is missing: what lies next to such a
	// change must stay, or the place that pruning leaves would be taken for one that may yet be filled.
	settling = time.Minute
)

// Prune implements [service.Pruner].
func (s *Store) Prune(ctx context.Context, policy service.RetentionPolicy) (service.RetentionResult, error) {
	result, err := transact(ctx, s, s.write, "retain", func(ctx context.Context, tx *sqlx.Tx) (result service.RetentionResult, err error) {
		if s.dialect.oneKeeper != "" {
			if err := tx.GetContext(ctx, &result.Ran, s.dialect.oneKeeper); err != nil || !result.Ran {
				return result, err
			}
		}
		result.Ran = true
		now, err := s.now(ctx, tx)
		if err != nil {
			return result, err
		}
		if policy.History > 0 {
			if result.Pruned, err = s.prune(ctx, tx, now, policy); err != nil {
				return result, err
			}
		}
		if policy.Stale > 0 {
			if result.Retired, err = s.retire(ctx, tx, now, policy); err != nil {
				return result, err
			}
		}
		result.More = result.Pruned == pruneAtOnce || len(result.Retired) == retireAtOnce
		return result, nil
	})
	if len(result.Retired) > 0 {
		s.announcements.changed()
	}
	return result, err
}

func (s *Store) prune(ctx context.Context, tx *sqlx.Tx, now time.Time, policy service.RetentionPolicy) (int64, error) {
	var newest sql.NullInt64
	err := tx.GetContext(ctx, &newest, tx.Rebind(`SELECT id FROM controller_transitions WHERE at < ? ORDER BY id DESC LIMIT 1`), s.dialect.bind(now.Add(-settling)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, err
	}
	done, err := tx.ExecContext(ctx, tx.Rebind(`DELETE FROM controller_transitions WHERE id IN
		(SELECT id FROM controller_transitions WHERE at < ? AND id < ? ORDER BY at LIMIT ?)`), s.dialect.bind(now.Add(-policy.History)), newest.Int64, pruneAtOnce)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// retire removes controllers that have been silent for long, as long as heartbeats can be committed and the threshold after
// the last outage of the Global Controller has passed.
func (s *Store) retire(ctx context.Context, tx *sqlx.Tx, now time.Time, policy service.RetentionPolicy) (retired []service.Transition, _ error) {
	state, err := s.sweepState(ctx, tx, service.SweepPolicy{Threshold: policy.Threshold})
	if err != nil || !state.isFresh(now, policy.Tolerance) || state.isHeld(now, state.threshold) {
		return nil, err
	}
	var silent []row
	if err := tx.SelectContext(ctx, &silent, tx.Rebind(selectControllers+` WHERE stale AND NOT operator_draining AND last_heartbeat_at < ?
		ORDER BY controller_id LIMIT ?`+s.dialect.skipLocked), s.dialect.bind(now.Add(-policy.Stale)), retireAtOnce); err != nil || len(silent) == 0 {
		return nil, err
	}
	ids, changes := make([]string, 0, len(silent)), make([]*service.Transition, 0, len(silent))
	for _, r := range silent {
		t := r.changed(now, "").transition(service.CauseRetired, policy.Actor, "silent for longer than "+policy.Stale.String(), service.HealthStatus(r.Reported))
		ids, changes, retired = append(ids, r.ControllerID), append(changes, t), append(retired, *t)
	}
	for _, statement := range []string{`DELETE FROM meeting_controllers WHERE controller_id IN (?)`, `DELETE FROM controller_conflicts WHERE controller_id IN (?)`} {
		query, values, err := sqlx.In(statement, ids)
		if err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind(query), values...); err != nil {
			return nil, err
		}
	}
	return retired, s.record(ctx, tx, changes...)
}
