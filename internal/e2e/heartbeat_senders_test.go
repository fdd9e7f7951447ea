package e2e

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"darktower.example/global-controller/internal/daemon"
)

// withShortIntervals makes controllers send a heartbeat each 500 ms, and marks them stale after 6 s without one.
func withShortIntervals(c *daemon.Config) {
	c.FastInterval = 500 * time.Millisecond
	c.ComprehensiveInterval = 1500 * time.Millisecond
	c.StalenessThreshold = 6 * time.Second
}

// heartbeatSenders send heartbeats of a fleet and count their outcomes.
type heartbeatSenders struct {
	outcomes sync.Map // outcome -> *atomic.Int64
	epoch    atomic.Int64
	stop     context.CancelFunc
	senders  sync.WaitGroup
}

func (env *environment) startHeartbeats(ids ...string) *heartbeatSenders {
	ctx, cancel := context.WithCancel(context.Background())
	s := &heartbeatSenders{stop: cancel}
	for _, id := range ids {
		s.senders.Go(func() {
			ticker := time.NewTicker(env.cfg.FastInterval)
			defer ticker.Stop()

			for ctx.Err() == nil {
				epoch := s.epoch.Load()
				got := env.send(viaGRPC, call{"FastHeartbeat", id, fastHeartbeat(), env.controllerAuth()})
				if epoch == s.epoch.Load() {
					count, _ := s.outcomes.LoadOrStore(got, &atomic.Int64{})
					count.(*atomic.Int64).Add(1)
				}

				select {
				case <-ctx.Done():
				case <-ticker.C:
				}
			}
		})
	}

	return s
}

func (s *heartbeatSenders) stopAll() {
	s.stop()
	s.senders.Wait()
}

// takeOutcomes returns the number of each outcome since the last call. It never includes calls in flight, because they began
// before what the test does next.
func (s *heartbeatSenders) takeOutcomes() map[outcome]int64 {
	s.epoch.Add(1)
	found := make(map[outcome]int64)
	s.outcomes.Range(func(key, value any) bool {
		if n := value.(*atomic.Int64).Swap(0); n > 0 {
			found[key.(outcome)] = n
		}
		return true
	})
	return found
}

// pollUnhealthy polls the fleet for a time, and returns when each controller was found unhealthy first.
func (env *environment) pollUnhealthy(d time.Duration) map[string]time.Time {
	env.t.Helper()
	unhealthy := make(map[string]time.Time)
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for id, c := range env.listFleet() {
			if _, ok := unhealthy[id]; c.Health == "unhealthy" && !ok {
				unhealthy[id] = time.Now()
			}
		}
	}
	return unhealthy
}
