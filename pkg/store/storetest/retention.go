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
	for _, change := range found.Transitions {
		ids = append(ids, change.ID)
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
		t.Errorf("Prune(for ever) = %+v, want nothing removed", got)
	}
	// The last of the old ones stays, because the one after it may be so new that its place is looked at.
	if got := mustPrune(t, f.Store, service.RetentionPolicy{History: hour}); got.Pruned != 3 || got.More {
		t.Errorf("Prune() = %+v, want 3 removed", got)
	}
	if diff := cmp.Diff(all[3:], idsOf(t, f.Store)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	mustGet(t, f.Store, "mc")
}

// testPruningHoldsNothingBack: who follows the history sees what is new at once, whatever was removed before it.
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
		t.Errorf("seen = %v, want the last old one, %d, and the two new ones", got, all[len(all)-1])
	}
}

func testRetirement(t *testing.T, f Fixture) {
	for _, id := range []string{"silent", "drained", "alive", "recent"} {
		mustRegister(t, f.Store, id)
	}
	for _, id := range []string{"silent", "drained"} {
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
		t.Errorf("Prune(for ever) = %+v, want nobody retired", got)
	}
	keep.Stale = 2 * hour
	f.SetCheckerAges(t, 0, 0, 0)
	if got := mustPrune(t, f.Store, keep); len(got.Retired) != 0 {
		t.Errorf("Prune(while an outage is waited out) = %+v, want nobody retired", got)
	}
	f.SetCheckerAges(t, 2*sweepPolicy.Tolerance, hour, 0)
	if got := mustPrune(t, f.Store, keep); len(got.Retired) != 0 {
		t.Errorf("Prune(before the first beat after an outage) = %+v, want nobody retired", got)
	}
	f.SetCheckerAges(t, 0, hour, 0)
	got := mustPrune(t, f.Store, keep)
	want := []service.Transition{{
		ControllerID: "silent", Region: "eu", From: service.HealthUnhealthy, Cause: service.CauseRetired, Actor: "gc-1",
		Reason: "silent for longer than 2h0m0s", Reported: service.HealthPending,
	}}
	if diff := cmp.Diff(want, got.Retired, varying); diff != "" {
		t.Errorf("Prune() (-want +got):\n%s", diff)
	}
	if _, err := f.Store.Controller(t.Context(), "silent"); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Controller(silent) = %v, want ErrNotRegistered", err)
	}
	for _, id := range []string{"drained", "alive", "recent"} {
		mustGet(t, f.Store, id)
	}
	if history := f.History(t); history[len(history)-1].Cause != service.CauseRetired {
		t.Errorf("the last change = %+v, want the retirement", history[len(history)-1])
	}
}

// testOneKeeper: replicas that remove at the same time remove nothing twice and do not fail.
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
