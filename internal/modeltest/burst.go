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

// writeBarrier holds the first write that reads the database's clock, so that other heartbeats queue behind it.
type writeBarrier struct {
	reached chan struct{} // closed when a write waits
	opened  chan struct{} // closed to release it
}

func (b *writeBarrier) wait() {
	close(b.reached)
	<-b.opened
}

// holdWrite is the Config.Hold of a database that calls the environment for the time.
func (env *Environment) holdWrite() (reached <-chan struct{}, open func() error, err error) {
	b := &writeBarrier{reached: make(chan struct{}), opened: make(chan struct{})}
	env.barrier.Store(b)
	return b.reached, func() error { close(b.opened); return nil }, nil
}

// notifyingContext closes begun on the first call of Done. A heartbeat with this context is in the queue then.
type notifyingContext struct {
	context.Context //nolint:containedctx // It is a context.
	once            sync.Once
	begun           chan struct{}
}

func (c *notifyingContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.begun) })
	return c.Context.Done()
}

// burstHeartbeat is one heartbeat of a burst, and its result.
type burstHeartbeat struct {
	process         *process
	heartbeat       service.ComprehensiveHeartbeat
	isComprehensive bool
	got             service.Acknowledgement
	err             error
}

// sendBurst sends heartbeats concurrently to one replica. The first one is committed by itself, and the others share writes. The order of
// these writes is deterministic, because the heartbeats enter the queue one by one before the first write is released.
func (env *Environment) sendBurst() error {
	r := env.pickReplica()
	if r == nil || len(env.processes) == 0 {
		return nil
	}
	hasFault := r.disconnection.isActive || env.storeDown.isActive || env.readOnly.isActive || env.anyLocked() || !r.wall.isTrusted(env.now)
	if hasFault {
		return nil
	}

	members := make([]*burstHeartbeat, 0, 8)
	for range 2 + env.rng.IntN(6) {
		p := pick(env, env.processes)
		if n := len(members); n > 0 && env.rng.IntN(2) == 0 {
			p = members[n-1].process // The same process sends again.
			if env.rng.IntN(2) == 0 {
				p = env.pickSibling(p)
			}
		}
		m := &burstHeartbeat{process: p}
		m.heartbeat, m.isComprehensive = env.nextHeartbeat(p)
		members = append(members, m)
	}

	// The first heartbeat must be one that is stored, so that its write can be held.
	first := slices.IndexFunc(members, func(m *burstHeartbeat) bool {
		_, err := m.process.controller.afterHeartbeat(m.heartbeat, m.isComprehensive, env.databaseNow())
		return err == nil
	})
	if first < 0 {
		return nil
	}
	members[0], members[first] = members[first], members[0]

	env.note("a burst of %d heartbeats to %s", len(members), r.id)
	env.isSendingBurst = true
	err := env.sendBehindBarrier(r, members)
	env.isSendingBurst = false
	if err != nil {
		return err
	}
	return env.checkBurst(r, append([][]*burstHeartbeat{members[:1]}, groupWrites(members[1:])...))
}

// pickSibling draws another process of the same controller, if there is one.
func (env *Environment) pickSibling(p *process) *process {
	var others []*process
	for _, q := range env.processes {
		if q.controller == p.controller && q != p {
			others = append(others, q)
		}
	}
	if len(others) == 0 {
		return p
	}
	return pick(env, others)
}

// sendBehindBarrier sends the heartbeats: the first one until its write is held, and each other one until it is in the queue. Then it
// releases the write, and waits for all responses.
func (env *Environment) sendBehindBarrier(r *replica, members []*burstHeartbeat) error {
	hold := env.cfg.Hold
	if hold == nil {
		hold = env.holdWrite
	}
	reached, open, err := hold()
	if err != nil {
		return fmt.Errorf("hold a write: %w", err)
	}

	var all sync.WaitGroup
	for i, m := range members {
		ctx := &notifyingContext{Context: env.authorize(r, asController), begun: make(chan struct{})}
		done := make(chan struct{})
		all.Go(func() {
			defer close(done)
			m.got, m.err = callHeartbeat(ctx, r, m.heartbeat, m.isComprehensive)
		})

		begun := (<-chan struct{})(ctx.begun)
		if i == 0 {
			begun = reached
		}
		select {
		case <-begun:
		case <-done:
			// The call has returned, so it was not held; the check of its result finds the reason.
		}
	}

	err = open()
	all.Wait()
	return err
}

// groupWrites returns the heartbeats that share a write of their controller, in the order of the writes. Each round has one process of
// each controller, in the order of the ids.
func groupWrites(members []*burstHeartbeat) (writes [][]*burstHeartbeat) {
	for len(members) > 0 {
		slices.SortStableFunc(members, func(a, b *burstHeartbeat) int { return cmp.Compare(a.heartbeat.ControllerID, b.heartbeat.ControllerID) })

		var nextRound, write []*burstHeartbeat
		for _, m := range members {
			isSameController := len(write) > 0 && write[0].heartbeat.ControllerID == m.heartbeat.ControllerID
			switch {
			case isSameController && write[0].heartbeat.Incarnation != m.heartbeat.Incarnation:
				nextRound = append(nextRound, m)
			case isSameController:
				write = append(write, m)
			default:
				if len(write) > 0 {
					writes = append(writes, write)
				}
				write = []*burstHeartbeat{m}
			}
		}

		writes = append(writes, write)
		members = nextRound
	}
	return writes
}

// checkBurst checks that every heartbeat got the response that it would have got by itself, and that the store has the result of the
// writes.
func (env *Environment) checkBurst(r *replica, writes [][]*burstHeartbeat) error {
	var want []service.Transition
	for _, write := range writes {
		t, err := env.checkWrite(r, write)
		if err != nil {
			return err
		}
		if t != nil {
			want = append(want, *t)
		}
	}

	if len(want) != len(r.transitions) {
		return fmt.Errorf("the observer received %+v, want %+v", r.transitions, want)
	}
	for _, t := range want {
		if !slices.ContainsFunc(r.transitions, func(got service.Transition) bool { return isSameTransition(got, t) }) {
			return fmt.Errorf("the observer received %+v, want %+v", r.transitions, want)
		}
	}
	return env.checkFleet()
}

// checkWrite checks the responses of the heartbeats that shared a write, and returns the transition that the write must have made.
func (env *Environment) checkWrite(r *replica, write []*burstHeartbeat) (*service.Transition, error) {
	c := write[0].process.controller
	written, isComprehensive := writtenHeartbeat(write)
	want, wantErr := c.afterHeartbeat(written, isComprehensive, env.databaseNow())

	for _, m := range write {
		env.note("  %s (process %d, %s): %s", c.id, m.process.serial, m.heartbeat.Health, resultText(m.err))
		if !errors.Is(m.err, wantErr) {
			return nil, fmt.Errorf("heartbeat of %s in a burst returned %q, want %q", c.id, resultText(m.err), resultText(wantErr))
		}
		if m.err == nil {
			if err := env.checkAcknowledgement(r, c, m.got, want); err != nil {
				return nil, err
			}
		}
		if errors.Is(wantErr, service.ErrSuperseded) {
			want.conflicts++
		}
	}

	t := expectedTransition(c.id, c.record, want, service.CauseHeartbeat, "client", env.databaseNow())
	env.expectTransition(t)
	c.setRecord(want, env.now)
	return t, nil
}

// writtenHeartbeat returns what a shared write stores: the last heartbeat, with the last usage that any of them reported.
func writtenHeartbeat(write []*burstHeartbeat) (h service.ComprehensiveHeartbeat, isComprehensive bool) {
	last := write[len(write)-1]
	h, isComprehensive = last.heartbeat, last.isComprehensive
	if isComprehensive {
		return h, true
	}
	for _, m := range write {
		if m.isComprehensive {
			isComprehensive = true
			h.CPUUsagePercent, h.MemoryUsagePercent = m.heartbeat.CPUUsagePercent, m.heartbeat.MemoryUsagePercent
		}
	}
	return h, isComprehensive
}
