package store

import (
	"cmp"
	"context"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// Deregister implements [service.Store].
func (s *Store) Deregister(ctx context.Context, d service.Deregistration, actor string, byItself bool) (*service.Transition, error) {
	transition, err := transact(ctx, s, s.writeDB, "deregister", func(ctx context.Context, tx *sqlx.Tx) (*service.Transition, error) {
		old, now, err := s.lockRegistered(ctx, tx, d.ControllerID)
		if err != nil {
			return nil, err
		}
		if err := checkDeregistration(d, old, byItself); err != nil {
			return nil, err
		}

		if byItself && old.OperatorDraining {
			// The row stays, so that the drain does; the public state is draining as before.
			_, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE meeting_controllers SET reported_status = 'draining',
				current_meetings = 0, current_participants = 0 WHERE controller_id = ?`), d.ControllerID)
			return nil, err
		}

		if err := s.deleteControllers(ctx, tx, []string{d.ControllerID}); err != nil {
			return nil, err
		}

		cause, reason := service.CauseOperator, "deregistered"
		if byItself {
			cause, reason = service.CauseRetired, "deregistered itself"
		}
		transition := old.changeTo(now, "").transition(cause, actor, cmp.Or(d.Reason, reason), service.HealthStatus(old.Reported))
		return transition, s.recordTransitions(ctx, tx, transition)
	})

	s.announcer.announceOutcome(d.ControllerID, transition, err)
	return transition, err
}

// checkDeregistration returns the error of a deregistration that the controller's row does not permit.
func checkDeregistration(d service.Deregistration, old row, byItself bool) error {
	switch {
	case byItself && !old.Incarnation.Valid:
		// Several controllers share one token. Without a registered incarnation a caller cannot prove which one it is.
		return service.ErrForbidden
	case d.Incarnation != "" && old.Incarnation.Valid && old.Incarnation.String != d.Incarnation:
		return service.ErrSuperseded
	case d.ExpectedGeneration != nil && *d.ExpectedGeneration != old.Generation:
		return service.ErrConflict
	default:
		return nil
	}
}

// deleteControllers deletes the rows of controllers and their counts of conflicts. Their history stays.
func (s *Store) deleteControllers(ctx context.Context, tx *sqlx.Tx, ids []string) error {
	for _, statement := range []string{
		`DELETE FROM meeting_controllers WHERE controller_id IN (?)`,
		`DELETE FROM controller_conflicts WHERE controller_id IN (?)`,
	} {
		query, values, err := sqlx.In(statement, ids)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind(query), values...); err != nil {
			return err
		}
	}
	return nil
}
