package fleetsim

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// CheckMarkedStale waits until the controllers have been marked stale since a transition, and records whether that
// happened within [Timing.detectionLimit]. The name of the group is for the report.
func (e *Environment) CheckMarkedStale(ctx context.Context, mcs []*meetingController, afterID uint64, group string) error {
	e.SetPhase("waiting until %s are unhealthy", group)
	limit := e.Timing.detectionLimit()
	staleByID := func() map[string]Transition {
		stale := make(map[string]Transition)
		for _, t := range e.History.TransitionsAfter(afterID, isStale) {
			stale[t.ControllerID] = t
		}
		return stale
	}

	e.WaitUntil(ctx, limit+5*time.Second, func() bool {
		stale := staleByID()
		return !slices.ContainsFunc(mcs, func(mc *meetingController) bool { _, isMarked := stale[mc.ID]; return !isMarked })
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.History.Reread(ctx); err != nil {
		return err
	}

	stale := staleByID()
	var (
		missing  []string
		longest  time.Duration // from the last heartbeat that may have been stored
		recorded time.Duration // the silence in the transition of the same controller
	)

	for _, mc := range mcs {
		t, isMarked := stale[mc.ID]
		if !isMarked {
			missing = append(missing, mc.ID)
			continue
		}
		if silence := t.At.Sub(mc.LastStored()); silence > longest {
			longest = silence
			recorded = t.Silence
		}
	}

	e.RecordCheck("all of "+group+" are marked stale",
		fmt.Sprint(len(mcs)),
		fmt.Sprint(len(mcs)-len(missing))+formatExamples(missing),
		len(missing) == 0)
	e.RecordCheck("time from the last heartbeat until then",
		fmt.Sprintf("≤ %s (threshold + sweep interval + %s)", formatDuration(limit), formatDuration(margin)),
		fmt.Sprintf("last %s (recorded as %s)", formatDuration(longest), formatDuration(recorded)),
		longest <= limit)
	return nil
}

// CheckAfterOutage waits until the staleness sweep, which is suspended for a threshold after an outage, has run again. Then
// it checks the fleet.
func (e *Environment) CheckAfterOutage(ctx context.Context, since time.Time) error {
	limit := e.Timing.detectionLimit()
	e.SetPhase("waiting for the staleness sweep, until %s after the outage", formatDuration(limit))
	if err := e.Wait(ctx, time.Until(since.Add(limit))); err != nil {
		return err
	}
	e.AddNote("wrongly stale controllers were looked for until %s after the outage (threshold + sweep interval + %s)",
		formatDuration(time.Since(since)), formatDuration(margin))
	return e.CheckFleet(ctx)
}
