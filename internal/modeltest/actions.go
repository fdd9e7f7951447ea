package modeltest

import (
	"fmt"
	"time"

	"darktower.example/global-controller/service"
)

// action is something that happens to the world from outside, as often as its weight among all.
type action struct {
	weight int
	do     func(w *World) error
}

// actions go on all the time.
var actions = []action{
	{12, (*World).replaceProcess},
	{9, (*World).crash},
	{3, (*World).dieDraining},
	{4, (*World).lastWords},
	{7, (*World).pause},
	{7, (*World).registerAgain},
	{7, (*World).stray},
	{3, (*World).duplicate},
	{9, (*World).crowd},
	{6, (*World).orderDrain},
	{9, (*World).orderUndrain},
	{2, (*World).orderDeregistration},
	{2, (*World).leave},
	{3, (*World).trouble},
}

// troubles come now and then, and one after the other while the weather is bad.
var troubles = []action{
	{4, (*World).stopReplica},
	{2, (*World).stopAll},
	{4, (*World).breakStore},
	{4, (*World).cutReplica},
	{2, (*World).stallCheckers},
	{3, (*World).spoilWrites},
	{4, (*World).lockRows},
	{2, (*World).setClock},
}

// weather changes between long times in which everything works, so that somebody can be silent for long enough, and
// short ones in which nothing does.
func (w *World) weather() error {
	if w.bad = !w.bad; w.bad {
		w.nextWeather = w.now + 1 + w.dice.Int64N(2*w.threshold)
	} else {
		w.nextWeather = w.now + 1 + w.dice.Int64N(12*w.threshold)
	}
	return nil
}

// trouble comes rarely while the weather is good.
func (w *World) trouble() error {
	if !w.bad && w.dice.IntN(4) > 0 {
		return nil
	}
	return w.one(troubles)
}

func (w *World) act() error {
	w.nextAction = w.now + 1 + w.dice.Int64N(2500)
	if w.bad && w.dice.IntN(5) == 0 {
		return w.trouble()
	}
	return w.one(actions)
}

// one is any of some actions, by their weights.
func (w *World) one(of []action) error {
	total := 0
	for _, a := range of {
		total += a.weight
	}
	n := w.dice.IntN(total)
	for _, a := range of {
		if n -= a.weight; n < 0 {
			return a.do(w)
		}
	}
	return nil
}

// anyProcess is one of any controller, dead or alive; nil when there is none yet.
func (w *World) anyProcess() *process {
	if len(w.processes) == 0 {
		return nil
	}
	return pick(w, w.processes)
}

// replaceProcess starts a process of a controller. The one before has ended, or does not know yet.
func (w *World) replaceProcess() error {
	c := pick(w, w.fleet)
	if w.dice.IntN(3) > 0 {
		for _, p := range w.processes {
			if p.controller == c {
				p.next = 0
			}
		}
	}
	p := w.spawn(c)
	broken, answer := w.register(p)
	if answer == nil || w.dice.IntN(2) == 0 {
		p.next, p.dying = w.now+w.around(p.pace), false
	}
	return broken
}

func (w *World) crash() error {
	if p := w.anyProcess(); p != nil {
		p.next = 0
		w.note("process %d of %s crashes", p.serial, p.controller.id)
	}
	return nil
}

// usualSweeps is how far apart sweeps are where nothing goes wrong, in milliseconds.
const usualSweeps = 4750

// lastWords has a process end with a heartbeat that is as old as the threshold, to the millisecond, when a sweep comes.
func (w *World) lastWords() error {
	p, r := w.anyProcess(), pick(w, w.replicas)
	if p == nil || p.next == 0 || r.nextSweep == 0 {
		return nil
	}
	p.dying, p.next = true, r.nextSweep-w.threshold
	for p.next <= w.now {
		p.next += usualSweeps
	}
	w.note("process %d of %s will end", p.serial, p.controller.id)
	return nil
}

// pause keeps a process from running for a while, about as long as silence is allowed.
func (w *World) pause() error {
	if p := w.anyProcess(); p != nil && p.next != 0 {
		p.next += w.dice.Int64N(2 * w.threshold)
		w.note("process %d of %s pauses", p.serial, p.controller.id)
	}
	return nil
}

// registerAgain has a process register that did before: the current one, or one that was replaced.
func (w *World) registerAgain() error {
	p := w.anyProcess()
	if p == nil {
		return nil
	}
	broken, answer := w.register(p)
	if answer == nil && p.next == 0 {
		p.next, p.dying = w.now+w.around(p.pace), false
	}
	return broken
}

// stray is a heartbeat of any process out of turn, delayed by the network perhaps, or of one that was replaced.
func (w *World) stray() error {
	p := w.anyProcess()
	if p == nil {
		p = &process{controller: pick(w, w.fleet)}
	}
	broken, _ := w.beat(p)
	return broken
}

// duplicate is one heartbeat that arrives twice, at one replica or at two.
func (w *World) duplicate() error {
	p := w.anyProcess()
	if p == nil {
		return nil
	}
	beat, comprehensive := w.heartbeat(p)
	for range 2 {
		r := w.anyReplica()
		if r == nil {
			return nil
		}
		if broken, _ := w.send(r, p, beat, comprehensive); broken != nil {
			return broken
		}
	}
	return nil
}

// expectation is a generation that an operator saw: the current one, an old one, or none.
func (w *World) expectation(c *controller) *int64 {
	switch w.dice.IntN(4) {
	case 0:
		seen := c.generation
		return &seen
	case 1:
		seen := max(0, c.generation-1)
		return &seen
	}
	return nil
}

func (w *World) orderDrain() error {
	c, r := pick(w, w.fleet), w.anyReplica()
	if r == nil {
		return nil
	}
	order := service.DrainOrder{ControllerID: c.id, Reason: fmt.Sprintf("maintenance %d", w.dice.IntN(1000)), ExpectedGeneration: w.expectation(c), Force: w.dice.IntN(2) == 0}
	if w.dice.IntN(2) == 0 {
		order.Deadline = instant(w.clock()).Truncate(time.Second).Add(time.Duration(2+w.dice.IntN(600)) * time.Second)
	}
	want, wantErr := c.drained(order, "operator", w.clock())
	if wantErr == nil && !order.Force && w.missed(c) {
		want, wantErr = c.record, service.ErrUnsafe
	}
	got, err := r.calls.Drain.Call(w.authorize(r, asOperator), order, nil)
	w.note("the operator drains %s by %s: %s", c.id, r.id, answerOf(err))
	return w.decided(attempt{c, r, want, wantErr, service.CauseOperator, "operator", false}, got.Controller, err)
}

// missed tells whether a controller's region could not do without it: the largest of those that then still serve may fail
// as well, and what runs must have room.
func (w *World) missed(gone *controller) bool {
	if !gone.state().IsServing() {
		return false
	}
	var (
		served                                                 bool
		meetings, most, running, participants, many, attending int64
	)
	for _, c := range w.fleet {
		if !c.present || c.region != gone.region {
			continue
		}
		if !c.stale {
			running, attending = running+c.meetings, attending+c.participants
		}
		if c != gone && c.state().IsServing() {
			served = true
			meetings, most = meetings+c.maxMeetings, max(most, c.maxMeetings)
			participants, many = participants+c.maxParticipants, max(many, c.maxParticipants)
		}
	}
	return !served || meetings-most < running || participants-many < attending
}

func (w *World) orderUndrain() error {
	c, r := pick(w, w.fleet), w.anyReplica()
	if r == nil {
		return nil
	}
	order := service.UndrainOrder{ControllerID: c.id, Reason: "over", ExpectedGeneration: w.expectation(c)}
	want, wantErr := c.undrained(order)
	got, err := r.calls.Undrain.Call(w.authorize(r, asOperator), order, nil)
	w.note("the operator undrains %s by %s: %s", c.id, r.id, answerOf(err))
	return w.decided(attempt{c, r, want, wantErr, service.CauseOperator, "operator", false}, got, err)
}

// decided: the operator is shown the controller as the order left it.
func (w *World) decided(a attempt, got service.Controller, err error) error {
	if err == nil && shown(got) != a.want {
		return fmt.Errorf("the order for %s was answered with\n    %+v, want\n    %+v", a.controller.id, shown(got), a.want)
	}
	return w.settle(a, err)
}

func (w *World) orderDeregistration() error {
	c, r := pick(w, w.fleet), w.anyReplica()
	if r == nil {
		return nil
	}
	order := service.Deregistration{ControllerID: c.id}
	if p := w.anyProcess(); p != nil && w.dice.IntN(3) == 0 && p.controller == c {
		order.Incarnation = p.incarnation
	}
	want, wantErr := c.deregistered(order, false)
	_, err := r.calls.Deregister.Call(w.authorize(r, asOperator), order, nil)
	w.note("the operator deregisters %s (%q) by %s: %s", c.id, order.Incarnation, r.id, answerOf(err))
	return w.settle(attempt{c, r, want, wantErr, service.CauseOperator, "operator", false}, err)
}

// leave is a process that takes its controller out of the fleet, whether or not it is the one that is registered.
func (w *World) leave() error {
	p, r := w.anyProcess(), w.anyReplica()
	if p == nil || r == nil {
		return nil
	}
	c, order := p.controller, service.Deregistration{ControllerID: p.controller.id, Incarnation: p.incarnation}
	want, wantErr := c.deregistered(order, true)
	_, err := r.calls.Deregister.Call(w.authorize(r, asController), order, nil)
	w.note("%s leaves (process %d) by %s: %s", c.id, p.serial, r.id, answerOf(err))
	if err == nil {
		p.next = 0
	}
	return w.settle(attempt{c, r, want, wantErr, service.CauseRetired, "client", false}, err)
}
