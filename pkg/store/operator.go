package store

import (
	"cmp"
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// Drain implements [service.Store].
func (s *Store) Drain(ctx context.Context, order service.DrainOrder, actor string) (service.OperatorResult, error) {
	decide := func(ctx context.Context, tx *sqlx.Tx, r *row, now time.Time) (d decision, _ error) {
		if !order.Deadline.IsZero() && !order.Deadline.After(now) {
			return d, service.Invalid("deadline must be in the future")
		}
		var err error
		if d.plan, err = s.planDrain(ctx, tx, r.controller(), order.AssumeDrained); err != nil {
			return d, err
		}
		switch {
		case order.DryRun:
			return d, nil
		case !d.plan.IsSafe() && !order.Force:
			return d, &service.UnsafeError{Plan: d.plan}
		}
		since := dbTime{now}
		if r.OperatorDraining && r.DrainSince != nil {
			since = *r.DrainSince
		}
		r.OperatorDraining, r.DrainSince, r.DrainUntil = true, &since, nil
		if !order.Deadline.IsZero() {
			r.DrainUntil = &dbTime{order.Deadline}
		}
		r.DrainReason.String, r.DrainReason.Valid = order.Reason, true
		r.DrainBy.String, r.DrainBy.Valid = storable(actor), true
		d.changed, d.reason = true, cmp.Or(order.Reason, "drain ordered")
		if !d.plan.IsSafe() {
			d.reason += " (forced)"
		}
		return d, nil
	}
	return s.decide(ctx, "drain", order.ControllerID, order.ExpectedGeneration, actor, decide)
}

// Undrain implements [service.Store].
func (s *Store) Undrain(ctx context.Context, order service.UndrainOrder, actor string) (service.OperatorResult, error) {
	decide := func(_ context.Context, _ *sqlx.Tx, r *row, _ time.Time) (decision, error) {
		if !r.OperatorDraining {
			return decision{}, nil
		}
		r.OperatorDraining, r.DrainSince, r.DrainUntil, r.DrainReason.Valid, r.DrainBy.Valid = false, nil, nil, false, false
		return decision{reason: cmp.Or(order.Reason, "drain ended"), changed: true}, nil
	}
	return s.decide(ctx, "undrain", order.ControllerID, order.ExpectedGeneration, actor, decide)
}

// decision is what an operator's order comes to: a change of the row for a reason, or none. Plan is a drain's.
type decision struct {
	reason  string
	changed bool
	plan    service.DrainPlan
}

// decide stores what an operator decides about a controller, and the change of its public state that follows.
func (s *Store) decide(ctx context.Context, operation, id string, expected *int64, actor string,
	decide func(context.Context, *sqlx.Tx, *row, time.Time) (decision, error),
) (service.OperatorResult, error) {
	result, err := transact(ctx, s, s.write, operation, func(ctx context.Context, tx *sqlx.Tx) (none service.OperatorResult, _ error) {
		old, now, err := s.lockKnown(ctx, tx, id)
		if err != nil {
			return none, err
		}
		if expected != nil && *expected != old.Generation {
			return none, service.ErrConflict
		}
		r := old
		decision, err := decide(ctx, tx, &r, now)
		if err != nil {
			return none, err
		}
		if !decision.changed {
			return s.decided(ctx, tx, id, nil, decision.plan)
		}
		health := r.facts().Health()
		if _, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE meeting_controllers SET operator_draining = ?, drain_since = ?, drain_until = ?, drain_reason = ?,
			drain_by = ?, generation = generation + 1, health_status = ? WHERE controller_id = ?`),
			r.OperatorDraining, s.bindOrNull(r.DrainSince), s.bindOrNull(r.DrainUntil), r.DrainReason, r.DrainBy, string(health), id); err != nil {
			return none, err
		}
		transition := old.changed(now, health).transition(service.CauseOperator, actor, decision.reason, service.HealthStatus(r.Reported))
		if err := s.record(ctx, tx, transition); err != nil {
			return none, err
		}
		return s.decided(ctx, tx, id, transition, decision.plan)
	})
	s.announcements.after(id, result.Transition, err)
	return result, err
}

// decided reads the controller as the decision left it.
func (s *Store) decided(ctx context.Context, tx *sqlx.Tx, id string, transition *service.Transition, plan service.DrainPlan) (service.OperatorResult, error) {
	var found row
	err := tx.GetContext(ctx, &found, tx.Rebind(s.dialect.showControllers()+` WHERE controller_id = ?`), id)
	return service.OperatorResult{Controller: found.controller(), Transition: transition, Plan: plan}, err
}

// Deregister implements [service.Store].
func (s *Store) Deregister(ctx context.Context, d service.Deregistration, actor string, byItself bool) (*service.Transition, error) {
	transition, err := transact(ctx, s, s.write, "deregister", func(ctx context.Context, tx *sqlx.Tx) (*service.Transition, error) {
		old, now, err := s.lockKnown(ctx, tx, d.ControllerID)
		switch {
		case err != nil:
			return nil, err
		case byItself && !old.Incarnation.Valid:
			// Several controllers share one token. Without a registered incarnation a caller cannot show which one it is.
			return nil, service.ErrForbidden
		case d.Incarnation != "" && old.Incarnation.Valid && old.Incarnation.String != d.Incarnation:
			return nil, service.ErrSuperseded
		case d.ExpectedGeneration != nil && *d.ExpectedGeneration != old.Generation:
			return nil, service.ErrConflict
		case byItself && old.OperatorDraining:
			_, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE meeting_controllers SET reported_status = 'draining', current_meetings = 0, current_participants = 0
				WHERE controller_id = ?`), d.ControllerID)
			return nil, err // It is draining as it was.
		}
		cause, reason := service.CauseOperator, "deregistered"
		if byItself {
			cause, reason = service.CauseRetired, "deregistered itself"
		}
		for _, statement := range []string{`DELETE FROM meeting_controllers WHERE controller_id = ?`, `DELETE FROM controller_conflicts WHERE controller_id = ?`} {
			if _, err := tx.ExecContext(ctx, tx.Rebind(statement), d.ControllerID); err != nil {
				return nil, err
			}
		}
		transition := old.changed(now, "").transition(cause, actor, cmp.Or(d.Reason, reason), service.HealthStatus(old.Reported))
		return transition, s.record(ctx, tx, transition)
	})
	s.announcements.after(d.ControllerID, transition, err)
	return transition, err
}

// lockKnown locks a controller that is there, and reads the clock only then.
func (s *Store) lockKnown(ctx context.Context, tx *sqlx.Tx, id string) (none row, _ time.Time, _ error) {
	found, err := s.lock(ctx, tx, id)
	switch {
	case err != nil:
		return none, time.Time{}, err
	case found == nil:
		return none, time.Time{}, service.ErrNotRegistered
	}
	now, err := s.now(ctx, tx)
	return *found, now, err
}

func (s *Store) bindOrNull(t *dbTime) any {
	if t == nil {
		return nil
	}
	return s.dialect.bind(t.Time)
}
