package storetest

import (
	"sync"
	"testing"

	"darktower.example/global-controller/service"
)

func testConcurrentFirstRegistrations(t *testing.T, f Fixture) {
	replicas := []Store{f.Store, f.OpenReplica(t)}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		var (
			all         sync.WaitGroup
			mu          sync.Mutex
			transitions []service.Transition
		)

		for i := range 12 {
			all.Go(func() {
				result, err := replicas[i%len(replicas)].Register(t.Context(), registration(id), "client")
				if err != nil {
					t.Errorf("Register(%s) = %v", id, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if result.Transition != nil {
					transitions = append(transitions, *result.Transition)
				}
			})
		}

		all.Wait()
		if len(transitions) != 1 || transitions[0].From != "" {
			t.Errorf("transitions = %+v, want one from no state", transitions)
		}
	}

	if got := len(f.History(t)); got != 5 {
		t.Errorf("history = %d transitions, want 5", got)
	}
}

// testConcurrentWriters makes many writers change one controller. Each transition must begin with the state at which the one before
// it ended. Otherwise a writer has compared with an outdated state.
func testConcurrentWriters(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	replicas := []Store{f.Store, f.OpenReplica(t)}
	states := service.HealthStatuses()
	var (
		all      sync.WaitGroup
		mu       sync.Mutex
		returned = 1
	)

	for writer := range 8 {
		all.Go(func() {
			for i := range 20 {
				var transition *service.Transition
				var err error
				if s := replicas[writer%len(replicas)]; (writer+i)%6 == 0 {
					var result service.RegisterResult
					result, err = s.Register(t.Context(), registration("mc"), "client")
					transition = result.Transition
				} else {
					var result service.HeartbeatResult
					result, err = s.Heartbeat(t.Context(), heartbeat("mc", states[(writer+i)%len(states)]))
					transition = result.Transition
				}

				if err != nil {
					t.Errorf("writer %d: %v", writer, err)
				}
				if transition != nil {
					mu.Lock()
					returned++
					mu.Unlock()
				}
			}
		})
	}

	all.Wait()
	history := f.History(t)
	if len(history) != returned {
		t.Errorf("history = %d transitions, want the %d that were returned", len(history), returned)
	}

	last := service.HealthStatus("")
	for i, transition := range history {
		if transition.From != last {
			t.Errorf("transition %d is from %q, want from %q", i, transition.From, last)
		}
		last = transition.To
	}

	if c := mustGet(t, f.Store, "mc"); c.Health != last {
		t.Errorf("state = %s, want %s, that of its last transition", c.Health, last)
	}
}
