package fleetsim

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func zombie() Scenario {
	return Scenario{
		Name: "zombie", Summary: "some controllers freeze, new processes take their ids, and the frozen ones come back",
		Run: func(ctx context.Context, w *World) error {
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			// Only they are on a connection that can freeze.
			zombies := w.Fleet.Some(0.05, w.Random)
			grave, err := NewProxy(w.address())
			if err != nil {
				return err
			}
			w.closers = append(w.closers, grave.Close)
			if err := w.moveTo(ctx, zombies, grave); err != nil {
				return err
			}
			w.Phase("%d controllers freeze", len(zombies))
			grave.Freeze()
			twins, err := w.takeOver(ctx, zombies)
			if err != nil {
				return err
			}
			before := w.History.Last()
			w.Phase("the frozen ones come back")
			grave.Thaw()
			if err := w.CheckSuperseded(ctx, zombies, twins, before); err != nil {
				return err
			}
			return w.CheckFleet(ctx)
		},
	}
}

// moveTo restarts controllers on a connection through a proxy.
func (w *World) moveTo(ctx context.Context, mcs []*MC, proxy *Proxy) error {
	w.Phase("%d controllers move to a connection of their own", len(mcs))
	connection, err := w.Fleet.Connect(proxy.Address())
	if err != nil {
		return err
	}
	for _, mc := range mcs {
		if err := mc.End(); err != nil {
			return err
		}
		mc.connection = connection
		if err := mc.Begin(); err != nil {
			return err
		}
	}
	return w.awaitSteadyTransitions(ctx)
}

// awaitSteadyTransitions waits until all are healthy and the history has it.
func (w *World) awaitSteadyTransitions(ctx context.Context) error {
	// First for the new registrations to be known: who was healthy before is so until then.
	if err := w.Wait(ctx, w.Timing.heard()); err != nil {
		return err
	}
	return w.AwaitHealthy(ctx)
}

// takeOver starts another process for each id.
func (w *World) takeOver(ctx context.Context, mcs []*MC) (twins []*MC, err error) {
	w.Phase("new processes take their %d ids", len(mcs))
	connection, err := w.Fleet.Connect(w.address())
	if err != nil {
		return nil, err
	}
	for _, mc := range mcs {
		twin := w.Fleet.Twin(mc, connection)
		w.Fleet.Replace(mc, twin)
		twins = append(twins, twin)
		w.closers = append(w.closers, mc.Abandon)
		if err := twin.Begin(); err != nil {
			return nil, err
		}
	}
	return twins, w.awaitSteadyTransitions(ctx)
}

// CheckSuperseded records whether the old processes were refused and ended, and the new ones stayed untouched.
func (w *World) CheckSuperseded(ctx context.Context, old, twins []*MC, before uint64) error {
	count := func() (n int) {
		for _, mc := range old {
			if mc.Superseded() {
				n++
			}
		}
		return n
	}
	// An old process can wait for the answer to a call for as long as it does, before it makes another.
	patience := 10*time.Second + w.Timing.heard()
	w.Until(ctx, patience, func() bool { return count() == len(old) })
	if err := w.History.Repair(ctx); err != nil {
		return err
	}
	// Conflicts are written once a second.
	var stored map[string]*pb.Controller
	var err error
	w.Until(ctx, 5*time.Second, func() bool {
		stored, err = w.History.Fleet(ctx)
		return err != nil || !slices.ContainsFunc(twins, func(twin *MC) bool { return stored[twin.ID].GetIncarnationConflicts() == 0 })
	})
	if err != nil {
		return err
	}
	registered, conflicts, running := 0, 0, 0
	ids := make(map[string]bool)
	for _, twin := range twins {
		ids[twin.ID] = true
		if stored[twin.ID].GetIncarnation() == twin.Incarnation() {
			registered++
		}
		if stored[twin.ID].GetIncarnationConflicts() >= 1 {
			conflicts++
		}
		if twin.Running() {
			running++
		}
	}
	all := fmt.Sprint(len(old))
	w.Promise("the old processes are refused and end", all, fmt.Sprint(count()), count() == len(old))
	w.Promise("the new processes go on, and are those registered", all, fmt.Sprintf("%d run, %d are registered", running, registered), running == len(old) && registered == len(old))
	w.Promise("controllers that show the conflict", all, fmt.Sprint(conflicts), conflicts == len(old))
	changes := len(w.History.Since(before, func(t Transition) bool { return ids[t.ID] }))
	w.Promise("changes of their state meanwhile", "0", fmt.Sprint(changes), changes == 0)
	return ctx.Err()
}
