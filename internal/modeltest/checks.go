package modeltest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"darktower.example/global-controller/service"
)

// attempt is one call that may change a controller, and what the contract says of it.
type attempt struct {
	controller *controller
	replica    *replica
	want       record
	wantErr    error
	cause      service.Cause
	actor      string
	// counted is true where a refused process is counted.
	counted bool
}

// settle compares what a call answered, and what is to be seen afterwards, with what the contract says. After an answer
// that says nothing, either may be the case, and what is seen tells which.
func (w *World) settle(a attempt, err error) error {
	if broken := w.checkToken(a, err); broken != nil {
		return broken
	}
	if a.replica.refusal != nil {
		return w.settleRefusal(a, err)
	}
	c, before := a.controller, a.controller.record
	allowed := []record{a.want}
	switch {
	case errors.Is(err, service.ErrUnavailable):
		if a.cause == service.CauseHeartbeat {
			a.replica.vouching.failedFor(c.id, w.now)
		}
		if a.replica.faults == 0 {
			return fmt.Errorf("the store failed by itself: %w", err)
		}
		if allowed = []record{before}; a.wantErr == nil {
			allowed = append(allowed, a.want)
		}
	case !errors.Is(err, a.wantErr):
		return fmt.Errorf("%s of %s answered %q, want %q", a.cause, c.id, answerOf(err), answerOf(a.wantErr))
	case a.wantErr != nil:
		allowed = []record{before}
		if a.counted && errors.Is(err, service.ErrSuperseded) {
			counted := before
			counted.conflicts++
			if allowed = append(allowed, counted); a.replica.faults == 0 {
				allowed = allowed[1:]
			}
		}
	}
	seen, lookErr := w.look(c.id)
	if lookErr != nil {
		return lookErr
	}
	if !slices.Contains(allowed, seen) {
		return fmt.Errorf("%s of %s (answer: %s) left\n    %+v, want\n    %+v, was\n    %+v", a.cause, c.id, answerOf(err), seen, allowed, before)
	}
	t := change(c.id, before, seen, a.cause, a.actor, w.clock())
	w.expect(t)
	c.become(seen, w.now)
	if a.replica.registered {
		c.toldFast, c.toldThreshold = a.replica.Fast.Milliseconds(), a.replica.Threshold.Milliseconds()
	}
	if err != nil {
		t = nil // Nobody was told.
	}
	return told(a.replica.changes, t)
}

// told compares the changes that a service told its observer of with the one that was made.
func told(changes []service.Transition, made *service.Transition) error {
	switch {
	case made == nil && len(changes) == 0:
		return nil
	case made == nil || len(changes) != 1 || !alike(changes[0], *made):
		return fmt.Errorf("the observer was told %+v, want %+v", changes, made)
	}
	return nil
}

// alike compares all but the id, and the words for the reason.
func alike(got, want service.Transition) bool {
	if got.Reason == "" {
		return false
	}
	got.ID, got.Reason = 0, ""
	return got == want
}

// expect has the next look at the history find a change.
func (w *World) expect(t *service.Transition) {
	if t != nil {
		w.expected = append(w.expected, *t)
	}
}

// look reads a controller as everybody may, and its state from its facts.
func (w *World) look(id string) (record, error) {
	found, err := w.eye.Controller(context.Background(), id)
	if errors.Is(err, service.ErrNotRegistered) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("look at %s: %w", id, err)
	}
	return w.understand(found)
}

func (w *World) understand(found service.Controller) (record, error) {
	r := shown(found)
	if found.Health != r.state() {
		return r, fmt.Errorf("%s is shown %s, which does not follow from %+v", found.ControllerID, found.Health, r)
	}
	return r, nil
}

// checkHistory reads on in the history: what was expected and nothing else, each change from where the last one led.
func (w *World) checkHistory() error {
	list, err := w.eye.Transitions(context.Background(), service.TransitionFilter{After: w.lastID, Limit: 1000})
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	found := list.Transitions
	if len(found) != len(w.expected) {
		return fmt.Errorf("the history goes on with\n    %+v, want\n    %+v", found, w.expected)
	}
	for i, t := range found {
		if !alike(t, w.expected[i]) || t.ID <= w.lastID {
			return fmt.Errorf("the history goes on with\n    %+v, want\n    %+v", t, w.expected[i])
		}
		c := w.controller(t.ControllerID)
		if c.last != t.From {
			return fmt.Errorf("the history of %s is broken: %q was followed by a change from %q", c.id, c.last, t.From)
		}
		c.last, w.lastID = t.To, t.ID
	}
	w.expected = w.expected[:0]
	for _, c := range w.fleet {
		if c.last != c.state() {
			return fmt.Errorf("the history of %s ends with %q, but it is %q", c.id, c.last, c.state())
		}
	}
	return nil
}

func (w *World) controller(id string) *controller {
	for _, c := range w.fleet {
		if c.id == id {
			return c
		}
	}
	return &controller{id: id, floor: &w.floor}
}

// checkFleet compares everything that is shown with everything that is known.
func (w *World) checkFleet() error {
	seen, err := w.lookAtFleet()
	if err != nil {
		return err
	}
	for i, c := range w.fleet {
		if seen[i] != c.record {
			return fmt.Errorf("%s has become\n    %+v, want\n    %+v", c.id, seen[i], c.record)
		}
	}
	return nil
}

// lookAtFleet returns what is shown of each controller of the fleet.
func (w *World) lookAtFleet() ([]record, error) {
	found, err := w.eye.Controllers(context.Background(), service.ControllerFilter{Limit: 1000})
	if err != nil {
		return nil, fmt.Errorf("look at the fleet: %w", err)
	}
	seen := make([]record, len(w.fleet))
	for _, f := range found {
		i := slices.IndexFunc(w.fleet, func(c *controller) bool { return c.id == f.ControllerID })
		if i < 0 {
			return nil, fmt.Errorf("there is a controller %s that nobody registered", f.ControllerID)
		}
		if seen[i], err = w.understand(f); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

func (w *World) checkEverything() error {
	if err := w.checkHistory(); err != nil {
		return err
	}
	return w.checkFleet()
}
