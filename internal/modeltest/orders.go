package modeltest

import (
	"fmt"
	"time"

	"darktower.example/global-controller/service"
)

// pickExpectedGeneration draws the generation that an operator expects: the current one, an old one, or none.
func (env *Environment) pickExpectedGeneration(c *controller) *int64 {
	switch env.rng.IntN(4) {
	case 0:
		seen := c.generation
		return &seen
	case 1:
		seen := max(0, c.generation-1)
		return &seen
	}
	return nil
}

// orderDrain makes the operator drain a controller, with or without a deadline, an expected generation and force.
func (env *Environment) orderDrain() error {
	c, r := pick(env, env.fleet), env.pickReplica()
	if r == nil {
		return nil
	}

	order := service.DrainOrder{
		ControllerID:       c.id,
		Reason:             fmt.Sprintf("maintenance %d", env.rng.IntN(1000)),
		ExpectedGeneration: env.pickExpectedGeneration(c),
		Force:              env.rng.IntN(2) == 0,
	}
	if env.rng.IntN(2) == 0 {
		order.Deadline = toTime(env.databaseNow()).Truncate(time.Second).Add(time.Duration(2+env.rng.IntN(600)) * time.Second)
	}

	want, wantErr := c.afterDrain(order, "operator", env.databaseNow())
	if wantErr == nil && !order.Force && env.isUnsafeToDrain(c) {
		want, wantErr = c.record, service.ErrUnsafe
	}

	got, err := r.calls.Drain.Call(env.authorize(r, asOperator), order, nil)
	env.note("the operator drains %s at %s: %s", c.id, r.id, resultText(err))
	return env.checkOrder(operatorAttempt(c, r, want, wantErr), got.Controller, err)
}

// isUnsafeToDrain reports whether a region has too little capacity without a controller. If the largest of the remaining serving
// controllers fails as well, the running meetings and participants must still have room.
func (env *Environment) isUnsafeToDrain(drained *controller) bool {
	if !drained.state().IsServing() {
		return false
	}

	var (
		isServed                             bool
		meetings, largestMeetings            int64 // capacity of the remaining serving controllers
		participants, largestParticipants    int64
		runningMeetings, runningParticipants int64
	)

	for _, c := range env.fleet {
		if !c.isPresent || c.region != drained.region {
			continue
		}
		if !c.isStale {
			runningMeetings += c.meetings
			runningParticipants += c.participants
		}
		if c != drained && c.state().IsServing() {
			isServed = true
			meetings += c.maxMeetings
			largestMeetings = max(largestMeetings, c.maxMeetings)
			participants += c.maxParticipants
			largestParticipants = max(largestParticipants, c.maxParticipants)
		}
	}

	return !isServed ||
		meetings-largestMeetings < runningMeetings ||
		participants-largestParticipants < runningParticipants
}

// orderUndrain makes the operator end a drain.
func (env *Environment) orderUndrain() error {
	c, r := pick(env, env.fleet), env.pickReplica()
	if r == nil {
		return nil
	}

	order := service.UndrainOrder{ControllerID: c.id, Reason: "over", ExpectedGeneration: env.pickExpectedGeneration(c)}
	want, wantErr := c.afterUndrain(order)
	got, err := r.calls.Undrain.Call(env.authorize(r, asOperator), order, nil)
	env.note("the operator undrains %s at %s: %s", c.id, r.id, resultText(err))
	return env.checkOrder(operatorAttempt(c, r, want, wantErr), got, err)
}

func operatorAttempt(c *controller, r *replica, want record, wantErr error) attempt {
	return attempt{controller: c, replica: r, want: want, wantErr: wantErr, cause: service.CauseOperator, actor: "operator"}
}

// checkOrder checks the result of an operator's order, and that its response shows the controller as the order left it.
func (env *Environment) checkOrder(a attempt, got service.Controller, err error) error {
	if err == nil && recordOf(got) != a.want {
		return fmt.Errorf("the order for %s returned\n    %+v, want\n    %+v", a.controller.id, recordOf(got), a.want)
	}
	return env.checkCall(a, err)
}

// orderDeregistration makes the operator deregister a controller, sometimes with the incarnation of one of its processes.
func (env *Environment) orderDeregistration() error {
	c, r := pick(env, env.fleet), env.pickReplica()
	if r == nil {
		return nil
	}

	order := service.Deregistration{ControllerID: c.id}
	if p := env.pickProcess(); p != nil && env.rng.IntN(3) == 0 && p.controller == c {
		order.Incarnation = p.incarnation
	}

	want, wantErr := c.afterDeregistration(order, false)
	_, err := r.calls.Deregister.Call(env.authorize(r, asOperator), order, nil)
	env.note("the operator deregisters %s (%q) at %s: %s", c.id, order.Incarnation, r.id, resultText(err))
	return env.checkCall(operatorAttempt(c, r, want, wantErr), err)
}
