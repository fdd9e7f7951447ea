package store

import (
	"cmp"
	"context"
	"database/sql"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// operatorCommand is a change of a controller's drain that an operator requests.
type operatorCommand struct {
	operation          string // for [Config].OnQuery
	controllerID       string
	expectedGeneration *int64 // nil accepts every generation
	actor              string
	// decide changes the drain in the controller's row, which is locked. now is the database's clock after the lock.
	decide func(ctx context.Context, tx *sqlx.Tx, r *row, now time.Time) (operatorDecision, error)
}

// operatorDecision is the result of [operatorCommand].decide.
type operatorDecision struct {
	isChange bool   // false leaves the controller as it is
	reason   string // of the transition
	plan     service.DrainPlan
}

// Drain implements [service.Store].
func (s *Store) Drain(ctx context.Context, order service.DrainOrder, actor string) (service.OperatorResult, error) {
	return s.executeOperatorCommand(ctx, operatorCommand{
		operation:          "drain",
		controllerID:       order.ControllerID,
		expectedGeneration: order.ExpectedGeneration,
		actor:              actor,
		decide: func(ctx context.Context, tx *sqlx.Tx, r *row, now time.Time) (operatorDecision, error) {
			return s.decideDrain(ctx, tx, order, actor, r, now)
		},
	})
}

// decideDrain plans the drain and sets it in the row, unless it is a dry run or the plan forbids it.
func (s *Store) decideDrain(
	ctx context.Context, tx *sqlx.Tx, order service.DrainOrder, actor string, r *row, now time.Time,
) (decision operatorDecision, err error) {
	if !order.Deadline.IsZero() && !order.Deadline.After(now) {
		return decision, service.Invalid("deadline must be in the future")
	}
	if decision.plan, err = s.planDrain(ctx, tx, r.controller(), order.AssumeDrained); err != nil {
		return decision, err
	}

	isSafe := decision.plan.IsSafe()
	switch {
	case order.DryRun:
		return decision, nil
	case !isSafe && !order.Force:
		return decision, &service.UnsafeError{Plan: decision.plan}
	}

	r.setDrain(order, actor, now)
	decision.isChange = true
	decision.reason = cmp.Or(order.Reason, "drain ordered")
	if !isSafe {
		decision.reason += " (forced)"
	}
	return decision, nil
}

// Undrain implements [service.Store].
func (s *Store) Undrain(ctx context.Context, order service.UndrainOrder, actor string) (service.OperatorResult, error) {
	return s.executeOperatorCommand(ctx, operatorCommand{
		operation:          "undrain",
		controllerID:       order.ControllerID,
		expectedGeneration: order.ExpectedGeneration,
		actor:              actor,
		decide: func(_ context.Context, _ *sqlx.Tx, r *row, _ time.Time) (operatorDecision, error) {
			if !r.OperatorDraining {
				return operatorDecision{}, nil
			}
			r.clearDrain()
			return operatorDecision{isChange: true, reason: cmp.Or(order.Reason, "drain ended")}, nil
		},
	})
}

// executeOperatorCommand stores an operator's decision about a controller, and the transition that follows from it.
func (s *Store) executeOperatorCommand(ctx context.Context, command operatorCommand) (service.OperatorResult, error) {
	result, err := transact(ctx, s, s.writeDB, command.operation,
		func(ctx context.Context, tx *sqlx.Tx) (service.OperatorResult, error) {
			old, now, err := s.lockRegistered(ctx, tx, command.controllerID)
			if err != nil {
				return service.OperatorResult{}, err
			}
			if command.expectedGeneration != nil && *command.expectedGeneration != old.Generation {
				return service.OperatorResult{}, service.ErrConflict
			}

			updated := old
			decision, err := command.decide(ctx, tx, &updated, now)
			if err != nil {
				return service.OperatorResult{}, err
			}
			result := service.OperatorResult{Plan: decision.plan}
			if decision.isChange {
				if result.Transition, err = s.writeDrain(ctx, tx, old, updated, now, command.actor, decision.reason); err != nil {
					return service.OperatorResult{}, err
				}
			}

			result.Controller, err = s.readController(ctx, tx, command.controllerID)
			return result, err
		})

	s.announcer.announceOutcome(command.controllerID, result.Transition, err)
	return result, err
}

// writeDrain writes the drain of a controller's updated row, increments the generation and records the transition.
func (s *Store) writeDrain(
	ctx context.Context, tx *sqlx.Tx, old, updated row, now time.Time, actor, reason string,
) (*service.Transition, error) {
	health := updated.facts().Health()
	if _, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE meeting_controllers SET operator_draining = ?, drain_since = ?, drain_until = ?,
		drain_reason = ?, drain_by = ?, generation = generation + 1, health_status = ? WHERE controller_id = ?`),
		updated.OperatorDraining, s.bindOrNull(updated.DrainSince), s.bindOrNull(updated.DrainUntil), updated.DrainReason,
		updated.DrainBy, string(health), updated.ControllerID); err != nil {
		return nil, err
	}

	transition := old.changeTo(now, health).transition(service.CauseOperator, actor, reason, service.HealthStatus(updated.Reported))
	return transition, s.recordTransitions(ctx, tx, transition)
}

// setDrain sets the drain in the row. A controller that is drained already keeps the time at which the drain began.
func (r *row) setDrain(order service.DrainOrder, actor string, now time.Time) {
	since := dbTime{now}
	if r.OperatorDraining && r.DrainSince != nil {
		since = *r.DrainSince
	}

	r.OperatorDraining = true
	r.DrainSince = &since
	r.DrainUntil = nil
	if !order.Deadline.IsZero() {
		r.DrainUntil = &dbTime{order.Deadline}
	}
	r.DrainReason = sql.NullString{String: order.Reason, Valid: true}
	r.DrainBy = sql.NullString{String: storableText(actor), Valid: true}
}

func (r *row) clearDrain() {
	r.OperatorDraining = false
	r.DrainSince = nil
	r.DrainUntil = nil
	r.DrainReason = sql.NullString{}
	r.DrainBy = sql.NullString{}
}

// readController reads a controller as the transaction has left it.
func (s *Store) readController(ctx context.Context, tx *sqlx.Tx, id string) (service.Controller, error) {
	var found row
	err := tx.GetContext(ctx, &found, tx.Rebind(s.dialect.selectShownControllers()+` WHERE controller_id = ?`), id)
	return found.controller(), err
}

// lockRegistered locks the row of a registered controller and then reads the clock.
func (s *Store) lockRegistered(ctx context.Context, tx *sqlx.Tx, id string) (row, time.Time, error) {
	found, err := s.lockRow(ctx, tx, id)
	switch {
	case err != nil:
		return row{}, time.Time{}, err
	case found == nil:
		return row{}, time.Time{}, service.ErrNotRegistered
	}

	now, err := s.readNow(ctx, tx)
	return *found, now, err
}

func (s *Store) bindOrNull(t *dbTime) any {
	if t == nil {
		return nil
	}
	return s.dialect.bind(t.Time)
}
