package fleetsim

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

const (
	// supersededCallTimeout is how long an old process may wait for the response to a call before it makes another one.
	supersededCallTimeout = 10 * time.Second
	// conflictWriteTimeout exceeds the time in which a Global Controller writes conflicts to its store, a second.
	conflictWriteTimeout = 5 * time.Second
)

// StartSecondProcesses starts another process for each id. Each replaces its controller in the fleet. The first processes continue to run.
func (e *Environment) StartSecondProcesses(ctx context.Context, mcs []*meetingController) (second []*meetingController, err error) {
	e.SetPhase("starting new processes with the ids of %d controllers", len(mcs))
	connection, err := e.Fleet.Connect(e.globalControllerAddress())
	if err != nil {
		return nil, err
	}

	for _, mc := range mcs {
		process := e.Fleet.NewSecondProcess(mc, connection)
		e.Fleet.Replace(mc, process)
		second = append(second, process)
		e.addCleanup(mc.Crash)
		if err := process.Start(); err != nil {
			return nil, err
		}
	}
	return second, e.awaitRegistered(ctx)
}

// awaitRegistered waits until new processes have registered and all controllers are healthy.
func (e *Environment) awaitRegistered(ctx context.Context) error {
	// A controller that was healthy before remains so until its new process registers. Registrations take at most this long.
	if err := e.Wait(ctx, e.Timing.heartbeatLimit()); err != nil {
		return err
	}
	return e.AwaitHealthy(ctx)
}

// CheckSuperseded records whether the old processes were refused and have ended, and whether the new ones were not affected.
// The transitions after an id count as effects on the new processes.
func (e *Environment) CheckSuperseded(ctx context.Context, old, second []*meetingController, afterID uint64) error {
	superseded := func() (n int) {
		for _, mc := range old {
			if mc.IsSuperseded() {
				n++
			}
		}
		return n
	}
	e.WaitUntil(ctx, supersededCallTimeout+e.Timing.heartbeatLimit(), func() bool { return superseded() == len(old) })
	if err := e.History.Reread(ctx); err != nil {
		return err
	}

	stored, err := e.awaitConflicts(ctx, second)
	if err != nil {
		return err
	}
	registered, conflicts, running := 0, 0, 0
	isShared := make(map[string]bool)

	for _, process := range second {
		isShared[process.ID] = true
		if stored[process.ID].GetIncarnation() == process.Incarnation() {
			registered++
		}
		if stored[process.ID].GetIncarnationConflicts() >= 1 {
			conflicts++
		}
		if process.IsRunning() {
			running++
		}
	}
	transitions := len(e.History.TransitionsAfter(afterID, func(t Transition) bool { return isShared[t.ControllerID] }))

	all := fmt.Sprint(len(old))
	e.RecordCheck("the old processes are refused and end", all, fmt.Sprint(superseded()), superseded() == len(old))
	e.RecordCheck("the new processes run on and are registered", all,
		fmt.Sprintf("%d running, %d registered", running, registered), running == len(old) && registered == len(old))
	e.RecordCheck("controllers that show the conflict", all, fmt.Sprint(conflicts), conflicts == len(old))
	e.RecordCheck("transitions of their state meanwhile", "0", fmt.Sprint(transitions), transitions == 0)
	return ctx.Err()
}

// awaitConflicts waits until all controllers show a conflict, or until a timeout, and returns the stored controllers.
func (e *Environment) awaitConflicts(ctx context.Context, mcs []*meetingController) (stored map[string]*pb.Controller, err error) {
	e.WaitUntil(ctx, conflictWriteTimeout, func() bool {
		stored, err = e.History.ListControllers(ctx)
		hasNone := func(mc *meetingController) bool { return stored[mc.ID].GetIncarnationConflicts() == 0 }
		return err != nil || !slices.ContainsFunc(mcs, hasNone)
	})
	return stored, err
}
