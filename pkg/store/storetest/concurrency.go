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
			all     sync.WaitGroup
			mu      sync.Mutex
			changes []service.Transition
		)
		for i := range 12 {
			all.Go(func() {
				result, err := replicas[i%len(replicas)].Register(t.Context(), registration(id), "client")
				change := result.Transition
				if err != nil {
					t.Errorf("Register(%s) = %v", id, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if change != nil {
					changes = append(changes, *change)
				}
			})
		}
		all.Wait()
		if len(changes) != 1 || changes[0].From != "" {
			t.Errorf("changes = %+v, want one from nothing", changes)
		}
	}
	if got := len(f.History(t)); got != 5 {
		t.Errorf("history = %d changes, want 5", got)
	}
}

// testUnbrokenHistory lets many writers change one controller: each change has to begin where the one before it ended,
// so nobody may have compared with a state that was no longer there.
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
				var change *service.Transition
				var err error
				if s := replicas[writer%len(replicas)]; (writer+i)%6 == 0 {
					var result service.RegisterResult
					result, err = s.Register(t.Context(), registration("mc"), "client")
					change = result.Transition
				} else {
					var result service.HeartbeatResult
					result, err = s.Heartbeat(t.Context(), heartbeat("mc", states[(writer+i)%len(states)]))
					change = result.Transition
				}
				if err != nil {
					t.Errorf("writer %d: %v", writer, err)
				}
				if change != nil {
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
		t.Errorf("history = %d changes, want the %d that were returned", len(history), returned)
	}
	last := service.HealthStatus("")
	for i, change := range history {
		if change.From != last {
			t.Errorf("change %d is from %q, want from %q", i, change.From, last)
		}
		last = change.To
	}
	if c := mustGet(t, f.Store, "mc"); c.Health != last {
		t.Errorf("state = %s, want %s, the end of its history", c.Health, last)
	}
}
