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
		Name: "rolling-restart", Summary: "every controller shuts down well and comes back as a new process, one after the other",
		Run: func(ctx context.Context, w *World) error {
			for i, mc := range w.Fleet.MCs {
				// Every second one leaves the fleet, every other one says that it drains.
				mc.shutdown = client.Shutdown{Deregister: i%2 == 1}
			}
			if _, err := w.Settle(ctx); err != nil {
				return err
			}
			window := w.Timing.outage()
			w.Phase("each of the fleet restarts, within %s", short(window))
			backs, err := w.restartEach(ctx, window)
			if err != nil {
				return err
			}
			slowest := slices.Max(backs)
			w.Promise("each is heard as a new process", "≤ "+short(w.Timing.heard()), "slowest "+short(slowest), slowest <= w.Timing.heard())
			stored, err := w.History.Fleet(ctx)
			if err != nil {
				return err
			}
			conflicts := uint64(0)
			for _, c := range stored {
				conflicts += c.GetIncarnationConflicts()
			}
			w.Promise("processes that call after another took their place", "0", fmt.Sprint(conflicts), conflicts == 0)
			stale := len(w.History.Since(0, func(t Transition) bool { return t.To == "unhealthy" }))
			w.Promise("nobody is unhealthy meanwhile", "0", fmt.Sprint(stale), stale == 0)
			return w.CheckFleet(ctx)
		},
	}
}

// restartEach restarts the controllers evenly over a time and returns how long after its end each was heard again.
func (w *World) restartEach(ctx context.Context, window time.Duration) ([]time.Duration, error) {
	var (
		mu    sync.Mutex
		backs []time.Duration
		began = time.Now()
		due   = make(map[*MC]time.Time)
	)
	for i, mc := range w.Fleet.MCs {
		due[mc] = began.Add(window * time.Duration(i) / time.Duration(len(w.Fleet.MCs)))
	}
	err := eachOf(w.Fleet.MCs, len(w.Fleet.MCs), func(mc *MC) error {
		if !pause(ctx, time.Until(due[mc])) {
			return ctx.Err()
		}
		if err := mc.End(); err != nil {
			return err
		}
		ended := time.Now()
		mc.Mark(ended)
		if err := mc.Begin(); err != nil {
			return err
		}
		w.Until(ctx, 3*w.Timing.heard(), func() bool { return !mc.FirstAck().IsZero() })
		back := time.Since(ended)
		mu.Lock()
		defer mu.Unlock()
		backs = append(backs, back)
		return nil
	})
	return backs, err
}
