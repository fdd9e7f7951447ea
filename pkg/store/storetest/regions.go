package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

func testRegions(t *testing.T, f Fixture) {
	if regions, err := f.Store.Regions(t.Context()); err != nil || len(regions) != 0 {
		t.Errorf("Regions(no controllers) = %v, %v, want nothing", regions, err)
	}

	for _, id := range []string{"a", "b", "c", "stale", "drained"} {
		mustRegister(t, f.Store, id)
	}
	elsewhere := registration("d")
	elsewhere.Region, elsewhere.MaxMeetings = "us", 2147483647
	if _, err := f.Store.Register(t.Context(), elsewhere, "client"); err != nil {
		t.Fatalf("Register() = %v", err)
	}

	mustHeartbeat(t, f.Store, heartbeat("a", service.HealthDegraded))
	mustHeartbeat(t, f.Store, heartbeat("b", service.HealthHealthy))
	for _, id := range []string{"stale", "drained"} {
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}

	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "drained"})
	f.SetLastHeartbeatAge(t, "stale", hour)
	f.SetCheckerAges(t, 0, hour, hour)
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	got, err := f.Store.Regions(t.Context())
	shown, now := mustGet(t, f.Store, "a"), mustChanges(t, f.Store, 0, nil, 1).AsOf
	for i := range got {
		if at := got[i].AsOf; at.Before(shown.UpdatedAt) || at.After(now) {
			t.Errorf("region %s has AsOf %v, want it between %v and %v", got[i].Region, at, shown.UpdatedAt, now)
		}
		got[i].AsOf = time.Time{}
	}

	want := []service.Region{
		{
			Region:       "eu",
			Controllers:  countsByState(1, 1, 1, 1, 1),
			Stale:        1,
			Meetings:     service.RegionCapacity{ServingLimit: 20, RunningLoad: 9, LargestServing: 10, TotalLimit: 50, TotalLoad: 12},
			Participants: service.RegionCapacity{ServingLimit: 200, RunningLoad: 12, LargestServing: 100, TotalLimit: 500, TotalLoad: 16},
		},
		{
			Region:       "us",
			Controllers:  countsByState(1, 0, 0, 0, 0),
			Meetings:     service.RegionCapacity{TotalLimit: 2147483647},
			Participants: service.RegionCapacity{TotalLimit: 100},
		},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Regions() = %v, (-want +got):\n%s", err, diff)
	}
}

// countsByState returns the numbers of controllers by state. The numbers are in the order of [service.HealthStatuses].
func countsByState(each ...int64) map[service.HealthStatus]int64 {
	all := map[service.HealthStatus]int64{}
	for i, state := range service.HealthStatuses() {
		all[state] = each[i]
	}
	return all
}

func testUnsafeDrains(t *testing.T, f Fixture) {
	for _, id := range []string{"a", "b", "c"} { // Each has three meetings of at most ten.
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}
	mustRegister(t, f.Store, "pending")
	planned, err := f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "a", DryRun: true}, "operator")
	isPlanOnly := planned.Transition == nil && planned.Controller.Drain == nil
	if err != nil || !planned.Plan.IsSafe() || planned.Plan.MeetingsAffected != 3 || !isPlanOnly {
		t.Errorf("dry run = %+v, %v, want a safe plan and no drain", planned, err)
	}
	before, after := planned.Plan.Before, planned.Plan.After
	if before.Meetings.ServingLimit != 30 || after.Meetings.ServingLimit != 20 || after.Meetings.RunningLoad != 9 || after.Meetings.HeadroomWithoutLargest() != 1 {
		t.Errorf("plan = %+v, want the meetings of the region with a and without it", planned.Plan)
	}
	if after.Controllers[service.HealthDraining] != 1 || after.Controllers[service.HealthHealthy] != 2 {
		t.Errorf("plan = %+v, want the region with one draining and two healthy controllers", planned.Plan)
	}

	// The plan of a second drain assumes that "a" drains. It ignores ids of unknown controllers.
	second := service.DrainOrder{ControllerID: "b", DryRun: true, AssumeDrained: []string{"a", "unknown"}}
	planned, err = f.Store.Drain(t.Context(), second, "operator")
	before, after = planned.Plan.Before, planned.Plan.After
	isExpected := before.Meetings.ServingLimit == 20 && after.Meetings.ServingLimit == 10 && after.Controllers[service.HealthDraining] == 2
	if err != nil || planned.Plan.IsSafe() || !isExpected {
		t.Errorf("dry run of the second = %+v, %v, want an unsafe plan", planned.Plan, err)
	}
	if c := mustGet(t, f.Store, "a"); c.Drain != nil || c.Generation != 0 {
		t.Errorf("after a dry run = %+v, want no change", c)
	}
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "a"})

	var unsafe *service.UnsafeError
	_, err = f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "b"}, "operator")
	if !errors.As(err, &unsafe) || unsafe.Plan.IsSafe() || unsafe.Plan.After.Meetings.HeadroomWithoutLargest() != -9 {
		t.Errorf("Drain(b) = %v, want UnsafeError: the region could not lose c", err)
	}

	planned, err = f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "b", DryRun: true}, "operator")
	if err != nil || planned.Plan.IsSafe() {
		t.Errorf("dry run = %+v, %v, want an unsafe plan", planned.Plan, err)
	}

	if c := mustGet(t, f.Store, "b"); c.Health != service.HealthHealthy || c.Generation != 0 {
		t.Errorf("after a refusal = %+v, want no change", c)
	}

	forced := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "b", Reason: "fire", Force: true})
	if forced.Plan.IsSafe() || forced.Transition == nil || forced.Transition.Reason != "fire (forced)" {
		t.Errorf("forced = %+v, want a drain that is recorded as forced", forced)
	}

	_, err = f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "c"}, "operator")
	if !errors.As(err, &unsafe) || unsafe.Plan.After.ServingCount() != 0 {
		t.Errorf("Drain(c) = %v, want UnsafeError: no controller would serve", err)
	}

	if got := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "pending"}); !got.Plan.IsSafe() {
		t.Errorf("Drain(pending) = %+v, want a safe plan: a pending controller is not serving", got.Plan)
	}
}

// testConcurrentDrains: each of several drains is safe only without the others.
func testConcurrentDrains(t *testing.T, f Fixture) {
	for round := range 10 {
		var ids []string
		for i := range 4 {
			id := fmt.Sprintf("mc-%d-%d", round, i)
			r := registration(id)
			r.Region = fmt.Sprintf("region-%d", round)
			if _, err := f.Store.Register(t.Context(), r, "client"); err != nil {
				t.Fatalf("Register() = %v", err)
			}
			mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
			ids = append(ids, id)
		}

		// Twelve meetings run. Without the largest, three controllers hold 20 meetings, and two hold 10.
		var done sync.WaitGroup
		errs := make([]error, len(ids))
		for i, id := range ids {
			done.Go(func() { _, errs[i] = f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: id}, "operator") })
		}

		done.Wait()

		drained := 0
		for _, err := range errs {
			var unsafe *service.UnsafeError
			switch {
			case err == nil:
				drained++
			case !errors.As(err, &unsafe):
				t.Errorf("Drain() = %v, want nil or UnsafeError", err)
			}
		}
		if drained != 1 {
			t.Errorf("%d of 4 concurrent drains succeeded, want 1", drained)
		}
	}
}
