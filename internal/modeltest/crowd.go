package modeltest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"darktower.example/global-controller/service"
)

// gate holds up the first who asks the database for the time, so that others can gather behind that write.
type gate struct {
	reached, opened chan struct{}
}

func (g *gate) pass() {
	close(g.reached)
	<-g.opened
}

// hold is Config.Hold for a database that asks the world for the time.
func (w *World) hold() (reached <-chan struct{}, open func() error, err error) {
	g := &gate{make(chan struct{}), make(chan struct{})}
	w.gate.Store(g)
	return g.reached, func() error { close(g.opened); return nil }, nil
}

// waits is a context that tells when somebody waits for its end: a heartbeat is in the queue then.
type waits struct {
	context.Context //nolint:containedctx // It is a context.
	once            sync.Once
	begun           chan struct{}
}

func (c *waits) Done() <-chan struct{} {
	c.once.Do(func() { close(c.begun) })
	return c.Context.Done()
}

// member is one heartbeat of a crowd.
type member struct {
	process       *process
	beat          service.ComprehensiveHeartbeat
	comprehensive bool
	got           service.Acknowledgement
	err           error
}

// crowd sends heartbeats at once to one replica. The first is written by itself; those that come meanwhile share
// writes, whose order does not depend on chance: they are in the queue one by one before the first is let go.
func (w *World) crowd() error {
	r := w.anyReplica()
	if r == nil || r.cut || w.down || w.readOnly || w.anyLocked() || !r.wall.isTrusted(w.now) || len(w.processes) == 0 {
		return nil
	}
	members := make([]*member, 0, 8)
	for range 2 + w.dice.IntN(6) {
		p := pick(w, w.processes)
		if n := len(members); n > 0 && w.dice.IntN(2) == 0 {
			p = members[n-1].process // The same again.
			if w.dice.IntN(2) == 0 {
				p = w.another(p)
			}
		}
		m := &member{process: p}
		m.beat, m.comprehensive = w.heartbeat(p)
		members = append(members, m)
	}
	// The first has to be one that is stored: it is held up at that.
	first := slices.IndexFunc(members, func(m *member) bool {
		_, err := m.process.controller.beaten(m.beat, m.comprehensive, w.clock())
		return err == nil
	})
	if first < 0 {
		return nil
	}
	members[0], members[first] = members[first], members[0]
	w.note("a crowd of %d beats for %s", len(members), r.id)
	w.grouping = true
	err := w.gather(r, members)
	w.grouping = false
	if err != nil {
		return err
	}
	return w.judgeCrowd(r, append([][]*member{members[:1]}, together(members[1:])...))
}

// another is a process of the same controller, if there is one.
func (w *World) another(p *process) *process {
	var others []*process
	for _, q := range w.processes {
		if q.controller == p.controller && q != p {
			others = append(others, q)
		}
	}
	if len(others) == 0 {
		return p
	}
	return pick(w, others)
}

// gather has all of them call, each once the one before is waiting.
func (w *World) gather(r *replica, members []*member) error {
	hold := w.cfg.Hold
	if hold == nil {
		hold = w.hold
	}
	reached, open, err := hold()
	if err != nil {
		return fmt.Errorf("hold up a write: %w", err)
	}
	var all sync.WaitGroup
	for i, m := range members {
		ctx := &waits{Context: w.authorize(r, asController), begun: make(chan struct{})}
		done := make(chan struct{})
		all.Go(func() {
			defer close(done)
			m.got, m.err = call(ctx, r, m.beat, m.comprehensive)
		})
		begun := (<-chan struct{})(ctx.begun)
		if i == 0 {
			begun = reached
		}
		select {
		case <-begun:
		case <-done:
			// What is answered already was not held up; settling it says what is wrong.
		}
	}
	err = open()
	all.Wait()
	return err
}

// together is which heartbeats share a write of their controller, and in which order these writes come: one process of
// each controller at a time, in the order of the ids.
func together(members []*member) (writes [][]*member) {
	for len(members) > 0 {
		slices.SortStableFunc(members, func(a, b *member) int { return cmp.Compare(a.beat.ControllerID, b.beat.ControllerID) })
		var left []*member
		var write []*member
		for _, m := range members {
			switch {
			case len(write) > 0 && write[0].beat.ControllerID == m.beat.ControllerID && write[0].beat.Incarnation != m.beat.Incarnation:
				left = append(left, m)
			case len(write) > 0 && write[0].beat.ControllerID == m.beat.ControllerID:
				write = append(write, m)
			default:
				if len(write) > 0 {
					writes = append(writes, write)
				}
				write = []*member{m}
			}
		}
		writes, members = append(writes, write), left
	}
	return writes
}

// judgeCrowd: every heartbeat gets the answer it would have got by itself, and what is left is what the last of each
// process said, with the last usage that any of them brought.
func (w *World) judgeCrowd(r *replica, writes [][]*member) error {
	var told []service.Transition
	for _, write := range writes {
		m := *write[len(write)-1]
		for _, earlier := range write {
			if earlier.comprehensive && !write[len(write)-1].comprehensive {
				m.comprehensive, m.beat.CPUUsagePercent, m.beat.MemoryUsagePercent = true, earlier.beat.CPUUsagePercent, earlier.beat.MemoryUsagePercent
			}
		}
		c := m.process.controller
		want, wantErr := c.beaten(m.beat, m.comprehensive, w.clock())
		for _, one := range write {
			w.note("  %s (process %d, %s): %s", c.id, one.process.serial, one.beat.Health, answerOf(one.err))
			if !errors.Is(one.err, wantErr) {
				return fmt.Errorf("heartbeat of %s in a crowd was answered %q, want %q", c.id, answerOf(one.err), answerOf(wantErr))
			}
			if one.err == nil {
				if err := w.acknowledged(r, c, one.got, want); err != nil {
					return err
				}
			}
			if errors.Is(wantErr, service.ErrSuperseded) {
				want.conflicts++
			}
		}
		if t := change(c.id, c.record, want, service.CauseHeartbeat, "client", w.clock()); t != nil {
			w.expect(t)
			told = append(told, *t)
		}
		c.become(want, w.now)
	}
	if len(told) != len(r.changes) {
		return fmt.Errorf("the observer was told %+v, want %+v", r.changes, told)
	}
	for _, t := range told {
		if !slices.ContainsFunc(r.changes, func(got service.Transition) bool { return alike(got, t) }) {
			return fmt.Errorf("the observer was told %+v, want %+v", r.changes, told)
		}
	}
	return w.checkFleet()
}
