package storetest

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

func mustPrune(t *testing.T, s Store, policy service.RetentionPolicy) service.RetentionResult {
	t.Helper()
	result, err := s.Prune(t.Context(), policy)
	if err != nil || !result.Ran {
		t.Fatalf("Prune() = %+v, %v", result, err)
	}
	return result
}

func idsOf(t *testing.T, s Store) (ids []int64) {
	t.Helper()
	found, err := s.Transitions(t.Context(), service.TransitionFilter{Limit: 10_000})
	if err != nil {
		t.Fatalf("Transitions() = %v", err)
	}
	for _, transition := range found.Transitions {
		ids = append(ids, transition.ID)
	}
	return ids
}

func testPruning(t *testing.T, f Fixture) {
	for range 3 {
		mustRegister(t, f.Store, "mc")
		mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy))
	}
	all := idsOf(t, f.Store)
	f.SetTransitionsAge(t, all[3], 2*hour)
	if got := mustPrune(t, f.Store, service.RetentionPolicy{}); got.Pruned != 0 {
		t.Errorf("Prune(without a limit) = %+v, want nothing deleted", got)
	}

	// The last old transition stays, because the store may still look for a gap before the one after it.
	if got := mustPrune(t, f.Store, service.RetentionPolicy{History: hour}); got.Pruned != 3 || got.More {
		t.Errorf("Prune() = %+v, want 3 deleted", got)
	}
	if diff := cmp.Diff(all[3:], idsOf(t, f.Store)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	mustGet(t, f.Store, "mc")
}

// testReadsAfterPruning: pruning does not delay the reads of new transitions.
func testReadsAfterPruning(t *testing.T, f Fixture) {
	for range 2 {
		mustRegister(t, f.Store, "mc")
		mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy))
	}
	all := idsOf(t, f.Store)
	f.SetTransitionsAge(t, all[len(all)-1], 2*hour)
	mustPrune(t, f.Store, service.RetentionPolicy{History: hour})
	mustRegister(t, f.Store, "mc")
	mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy))
	mustPrune(t, f.Store, service.RetentionPolicy{History: hour})
	if got := idsOf(t, f.Store); len(got) != 3 || got[0] != all[len(all)-1] {
		t.Errorf("read = %v, want the last old transition, %d, and the two new ones", got, all[len(all)-1])
	}
}

func testRetirement(t *testing.T, f Fixture) {
	for _, id := range []string{"stale", "drained", "alive", "recent"} {
		mustRegister(t, f.Store, id)
	}
	for _, id := range []string{"stale", "drained"} {
		f.SetLastHeartbeatAge(t, id, 3*hour)
	}
	f.SetLastHeartbeatAge(t, "recent", hour+hour/2)
	f.SetDraining(t, "drained")
	f.SetCheckerAges(t, 0, hour, hour)
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	if c := mustGet(t, f.Store, "recent"); !c.Facts.Stale {
		t.Fatalf("recent = %+v, want it stale", c)
	}

	keep := service.RetentionPolicy{Threshold: sweepPolicy.Threshold, Tolerance: sweepPolicy.Tolerance, Actor: "gc-1"}
	if got := mustPrune(t, f.Store, keep); len(got.Retired) != 0 {
		t.Errorf("Prune(without a limit) = %+v, want none retired", got)
	}

	keep.Stale = 2 * hour
	f.SetCheckerAges(t, 0, 0, 0)
	if got := mustPrune(t, f.Store, keep); len(got.Retired) != 0 {
		t.Errorf("Prune(during the hold after an outage) = %+v, want none retired", got)
	}

	f.SetCheckerAges(t, 2*sweepPolicy.Tolerance, hour, 0)
	if got := mustPrune(t, f.Store, keep); len(got.Retired) != 0 {
		t.Errorf("Prune(before the first beat after an outage) = %+v, want none retired", got)
	}

	f.SetCheckerAges(t, 0, hour, 0)
	got := mustPrune(t, f.Store, keep)
	want := []service.Transition{{
		ControllerID: "stale",
		Region:       "eu",
		From:         service.HealthUnhealthy,
		Cause:        service.CauseRetired,
		Actor:        "gc-1",
		Reason:       "silent for longer than 2h0m0s",
		Reported:     service.HealthPending,
	}}
	if diff := cmp.Diff(want, got.Retired, varying); diff != "" {
		t.Errorf("Prune() (-want +got):\n%s", diff)
	}

	if _, err := f.Store.Controller(t.Context(), "stale"); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Controller(stale) = %v, want ErrNotRegistered", err)
	}
	for _, id := range []string{"drained", "alive", "recent"} {
		mustGet(t, f.Store, id)
	}
	if history := f.History(t); history[len(history)-1].Cause != service.CauseRetired {
		t.Errorf("the last transition = %+v, want the retirement", history[len(history)-1])
	}
}

// testOnePruner: replicas that prune at the same time succeed and delete nothing twice.
func testOnePruner(t *testing.T, f Fixture) {
	for range 20 {
		mustRegister(t, f.Store, "mc")
		mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy))
	}

	all := idsOf(t, f.Store)
	f.SetTransitionsAge(t, all[len(all)-1], 2*hour)

	var (
		done   sync.WaitGroup
		mu     sync.Mutex
		pruned int64
	)
	for range 4 {
		replica := f.OpenReplica(t)
		done.Go(func() {
			result, err := replica.Prune(t.Context(), service.RetentionPolicy{History: hour})
			if err != nil {
				t.Errorf("Prune() = %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			pruned += result.Pruned
		})
	}

	done.Wait()
	if want := int64(len(all) - 1); pruned != want {
		t.Errorf("pruned = %d, want %d", pruned, want)
	}
}
