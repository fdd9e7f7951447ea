package fleetsim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"darktower.example/global-controller/pkg/client"
)

func rollingRestart() Scenario {
	return Scenario{
		Name:    "rolling-restart",
		Summary: "every controller shuts down regularly and starts again as a new process, one after the other",
		Run: func(ctx context.Context, env *Environment) error {
			for i, mc := range env.Fleet.Controllers {
				// Every second controller deregisters at its end. The others report that they drain.
				mc.shutdown = client.Shutdown{Deregister: i%2 == 1}
			}
			if _, err := env.StartFleet(ctx); err != nil {
				return err
			}

			span := env.Timing.outageSpan()
			env.SetPhase("each controller restarts, within %s", formatDuration(span))
			delays, err := env.restartEach(ctx, span)
			if err != nil {
				return err
			}
			slowest, limit := slices.Max(delays), env.Timing.heartbeatLimit()
			env.RecordCheck("each sends heartbeats as a new process",
				"≤ "+formatDuration(limit), "slowest "+formatDuration(slowest), slowest <= limit)

			stored, err := env.History.ListControllers(ctx)
			if err != nil {
				return err
			}
			conflicts := uint64(0)
			for _, c := range stored {
				conflicts += c.GetIncarnationConflicts()
			}
			env.RecordCheck("calls of processes that had been replaced", "0", fmt.Sprint(conflicts), conflicts == 0)

			isUnhealthy := func(t Transition) bool { return t.To == "unhealthy" }
			unhealthy := len(env.History.TransitionsAfter(0, isUnhealthy))
			env.RecordCheck("controllers that were unhealthy meanwhile", "0", fmt.Sprint(unhealthy), unhealthy == 0)
			return env.CheckFleet(ctx)
		},
	}
}

// restartEach restarts the controllers, spread evenly over a time. It returns how long after its end each had an
// acknowledged heartbeat again.
func (e *Environment) restartEach(ctx context.Context, span time.Duration) ([]time.Duration, error) {
	var (
		mu        sync.Mutex
		delays    []time.Duration
		startedAt = time.Now()
		dueAt     = make(map[*meetingController]time.Time)
	)
	for i, mc := range e.Fleet.Controllers {
		dueAt[mc] = startedAt.Add(span * time.Duration(i) / time.Duration(len(e.Fleet.Controllers)))
	}

	err := forEachController(e.Fleet.Controllers, len(e.Fleet.Controllers), func(mc *meetingController) error {
		if !pause(ctx, time.Until(dueAt[mc])) {
			return ctx.Err()
		}
		if err := mc.Stop(); err != nil {
			return err
		}

		endedAt := time.Now()
		mc.ResetFirstAck(endedAt)
		if err := mc.Start(); err != nil {
			return err
		}
		e.WaitUntil(ctx, 3*e.Timing.heartbeatLimit(), func() bool { return !mc.FirstAck().IsZero() })
		delay := time.Since(endedAt)

		mu.Lock()
		defer mu.Unlock()
		delays = append(delays, delay)
		return nil
	})
	return delays, err
}
