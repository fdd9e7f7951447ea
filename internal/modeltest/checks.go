package modeltest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"darktower.example/global-controller/service"
)

// attempt is a call that may change a controller, with the result that the model predicts.
type attempt struct {
	controller *controller
	replica    *replica
	want       record
	wantErr    error
	cause      service.Cause
	actor      string
	// countsConflict is true if the store counts a call of a superseded process.
	countsConflict bool
}

// checkCall compares a call's result, and the controller's record afterwards, with what the model predicts. After a failed call, the
// record shows whether the call was committed.
func (env *Environment) checkCall(a attempt, err error) error {
	if checkErr := env.checkToken(a, err); checkErr != nil {
		return checkErr
	}
	if a.replica.wantRefusal != nil {
		return env.checkRefusedCall(a, err)
	}

	allowed, checkErr := env.allowedRecords(a, err)
	if checkErr != nil {
		return checkErr
	}
	c, before := a.controller, a.controller.record
	seen, readErr := env.readController(c.id)
	if readErr != nil {
		return readErr
	}
	if !slices.Contains(allowed, seen) {
		return fmt.Errorf("%s of %s (%s) left\n    %+v, want one of\n    %+v, was\n    %+v",
			a.cause, c.id, resultText(err), seen, allowed, before)
	}

	t := expectedTransition(c.id, before, seen, a.cause, a.actor, env.databaseNow())
	env.expectTransition(t)
	c.setRecord(seen, env.now)
	if a.replica.isRegistrationCommitted {
		c.givenFast, c.givenThreshold = a.replica.Fast.Milliseconds(), a.replica.Threshold.Milliseconds()
	}

	if err != nil {
		t = nil // The service does not notify its observer of a call that fails.
	}
	return checkObserved(a.replica.transitions, t)
}

// allowedRecords returns the records that the controller may have after a call with this result. After a failed call, the call may have
// been committed or not.
func (env *Environment) allowedRecords(a attempt, err error) ([]record, error) {
	c, before := a.controller, a.controller.record
	switch {
	case errors.Is(err, service.ErrUnavailable):
		if a.cause == service.CauseHeartbeat {
			a.replica.vouchModel.recordFailure(c.id, env.now)
		}
		if a.replica.faults == 0 {
			return nil, fmt.Errorf("the store failed without a fault: %w", err)
		}
		if a.wantErr == nil {
			return []record{before, a.want}, nil
		}
		return []record{before}, nil

	case !errors.Is(err, a.wantErr):
		return nil, fmt.Errorf("%s of %s returned %q, want %q", a.cause, c.id, resultText(err), resultText(a.wantErr))

	case a.wantErr == nil:
		return []record{a.want}, nil

	case a.countsConflict && errors.Is(err, service.ErrSuperseded):
		counted := before
		counted.conflicts++
		if a.replica.faults == 0 {
			return []record{counted}, nil
		}
		return []record{before, counted}, nil
	}
	return []record{before}, nil
}

// checkObserved compares the transitions that a service's observer received with the one that was made; nil means none.
func checkObserved(observed []service.Transition, made *service.Transition) error {
	switch {
	case made == nil && len(observed) == 0:
		return nil
	case made == nil || len(observed) != 1 || !isSameTransition(observed[0], *made):
		return fmt.Errorf("the observer received %+v, want %+v", observed, made)
	}
	return nil
}

// isSameTransition compares everything except the id and the text of the reason, which must not be empty.
func isSameTransition(got, want service.Transition) bool {
	if got.Reason == "" {
		return false
	}
	got.ID, got.Reason = 0, ""
	return got == want
}

// expectTransition makes the next check of the history expect a transition; nil means none.
func (env *Environment) expectTransition(t *service.Transition) {
	if t != nil {
		env.expectedTransitions = append(env.expectedTransitions, *t)
	}
}

// readController reads a controller as the public API shows it.
func (env *Environment) readController(id string) (record, error) {
	found, err := env.observerStore.Controller(context.Background(), id)
	if errors.Is(err, service.ErrNotRegistered) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("read controller %s: %w", id, err)
	}
	return env.checkedRecord(found)
}

// checkedRecord returns a controller's record, and checks that its public state follows from its facts.
func (env *Environment) checkedRecord(found service.Controller) (record, error) {
	r := recordOf(found)
	if found.Health != r.state() {
		return r, fmt.Errorf("%s has the public state %s, which does not follow from %+v", found.ControllerID, found.Health, r)
	}
	return r, nil
}

// checkHistory reads the new transitions of the history, and checks that they are the expected ones. Each must start in the state in which
// the controller's last one ended, and the last ones must end in the current states.
func (env *Environment) checkHistory() error {
	list, err := env.observerStore.Transitions(context.Background(), service.TransitionFilter{After: env.lastID, Limit: 1000})
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}

	found := list.Transitions
	if len(found) != len(env.expectedTransitions) {
		return fmt.Errorf("the history goes on with\n    %+v, want\n    %+v", found, env.expectedTransitions)
	}

	for i, t := range found {
		if !isSameTransition(t, env.expectedTransitions[i]) || t.ID <= env.lastID {
			return fmt.Errorf("the history goes on with\n    %+v, want\n    %+v", t, env.expectedTransitions[i])
		}
		c := env.controller(t.ControllerID)
		if c.lastState != t.From {
			return fmt.Errorf("the history of %s has a gap: after %q comes a transition from %q", c.id, c.lastState, t.From)
		}
		c.lastState, env.lastID = t.To, t.ID
	}
	env.expectedTransitions = env.expectedTransitions[:0]

	for _, c := range env.fleet {
		if c.lastState != c.state() {
			return fmt.Errorf("the history of %s ends with %q, but it is %q", c.id, c.lastState, c.state())
		}
	}
	return nil
}

func (env *Environment) controller(id string) *controller {
	for _, c := range env.fleet {
		if c.id == id {
			return c
		}
	}
	return &controller{id: id, generationFloor: &env.generationFloor}
}

// checkFleet compares the public state of every controller with its record.
func (env *Environment) checkFleet() error {
	seen, err := env.readFleet()
	if err != nil {
		return err
	}
	for i, c := range env.fleet {
		if seen[i] != c.record {
			return fmt.Errorf("%s is\n    %+v, want\n    %+v", c.id, seen[i], c.record)
		}
	}
	return nil
}

// readFleet returns the record of each controller of the fleet, as the public API shows it.
func (env *Environment) readFleet() ([]record, error) {
	found, err := env.observerStore.Controllers(context.Background(), service.ControllerFilter{Limit: 1000})
	if err != nil {
		return nil, fmt.Errorf("read the fleet: %w", err)
	}
	seen := make([]record, len(env.fleet))
	for _, f := range found {
		i := slices.IndexFunc(env.fleet, func(c *controller) bool { return c.id == f.ControllerID })
		if i < 0 {
			return nil, fmt.Errorf("the store has a controller %s that was never registered", f.ControllerID)
		}
		if seen[i], err = env.checkedRecord(f); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

func (env *Environment) checkAll() error {
	if err := env.checkHistory(); err != nil {
		return err
	}
	return env.checkFleet()
}
