package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"darktower.example/global-controller/service"
)

// testBurstOfHeartbeats sends heartbeats of registered and unregistered controllers at the same time. Each gets its own result, and
// the last acknowledged load of each controller is stored.
func testBurstOfHeartbeats(t *testing.T, f Fixture) {
	const controllers, heartbeatsEach = 40, 25
	for i := range controllers {
		mustRegister(t, f.Store, fmt.Sprintf("mc-%d", i))
	}

	var all sync.WaitGroup
	for i := range controllers {
		all.Go(func() {
			for n := range heartbeatsEach {
				h := heartbeat(fmt.Sprintf("mc-%d", i), service.HealthHealthy)
				h.CurrentMeetings = int64(n)
				if n == 3 {
					h.Usage = &service.Usage{CPUPercent: float64(i), MemoryPercent: 50}
				}
				if result, err := f.Store.Heartbeat(t.Context(), h); err != nil || result.At.IsZero() {
					t.Errorf("Heartbeat(mc-%d) = %v, %v, want it acknowledged with a time", i, result, err)
				}
			}
		})
		all.Go(func() {
			_, err := f.Store.Heartbeat(t.Context(), heartbeat(fmt.Sprintf("unknown-%d", i), service.HealthHealthy))
			if !errors.Is(err, service.ErrNotRegistered) {
				t.Errorf("Heartbeat(unknown-%d) = %v, want ErrNotRegistered", i, err)
			}
		})
	}

	all.Wait()
	for i := range controllers {
		c := mustGet(t, f.Store, fmt.Sprintf("mc-%d", i))
		if c.CurrentMeetings != heartbeatsEach-1 || c.CPUUsagePercent == nil || *c.CPUUsagePercent != float64(i) {
			t.Errorf("mc-%d = %+v, want %d meetings and %d %% CPU", i, c, heartbeatsEach-1, i)
		}
	}

	if got := len(f.History(t)); got != 2*controllers {
		t.Errorf("history = %d transitions, want pending and healthy for each of %d controllers", got, controllers)
	}
}

// testInvalidHeartbeatInBatch sends invalid heartbeats, which the schema rejects, together with valid ones.
func testInvalidHeartbeatInBatch(t *testing.T, f Fixture) {
	const controllers = 30
	for i := range controllers {
		mustRegister(t, f.Store, fmt.Sprintf("mc-%d", i))
	}

	for range 5 {
		var all sync.WaitGroup
		for i := range controllers {
			all.Go(func() {
				h := heartbeat(fmt.Sprintf("mc-%d", i), service.HealthHealthy)
				if i%7 == 0 {
					h.CurrentMeetings = -1
				}
				_, err := f.Store.Heartbeat(t.Context(), h)
				isInvalid := i%7 == 0
				if isInvalid != (err != nil) || errors.Is(err, service.ErrNotRegistered) || errors.Is(err, service.ErrUnavailable) {
					t.Errorf("Heartbeat(mc-%d) = %v, want an error of its own: %v", i, err, isInvalid)
				}
			})
		}
		all.Wait()
	}
}

// testConcurrentReplicas makes several replicas write the same controllers in different orders.
func testConcurrentReplicas(t *testing.T, f Fixture) {
	const controllers = 20
	for i := range controllers {
		mustRegister(t, f.Store, fmt.Sprintf("mc-%d", i))
	}

	replicas := []Store{f.Store, f.OpenReplica(t), f.OpenReplica(t)}
	states := service.HealthStatuses()
	var all sync.WaitGroup
	for r, replica := range replicas {
		for i := range controllers {
			all.Go(func() {
				for n := range 10 {
					id := fmt.Sprintf("mc-%d", (i*(r+1)+n)%controllers)
					_, err := replica.Heartbeat(t.Context(), heartbeat(id, states[(i+n+r)%len(states)]))
					if err != nil {
						t.Errorf("replica %d: Heartbeat(%s) = %v", r, id, err)
					}
				}
			})
		}
	}

	all.Wait()
	last := make(map[string]service.HealthStatus)
	for _, transition := range f.History(t) {
		if transition.From != last[transition.ControllerID] {
			t.Errorf("%s changed from %q, want from %q", transition.ControllerID, transition.From, last[transition.ControllerID])
		}
		last[transition.ControllerID] = transition.To
	}
}
