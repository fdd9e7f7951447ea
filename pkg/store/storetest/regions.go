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
	for _, id := range []string{"a", "b", "c", "silent", "drained"} {
		mustRegister(t, f.Store, id)
	}
	elsewhere := registration("d")
	elsewhere.Region, elsewhere.MaxMeetings = "us", 2147483647
	if _, err := f.Store.Register(t.Context(), elsewhere, "client"); err != nil {
		t.Fatalf("Register() = %v", err)
	}
	mustHeartbeat(t, f.Store, heartbeat("a", service.HealthDegraded))
	mustHeartbeat(t, f.Store, heartbeat("b", service.HealthHealthy))
	for _, id := range []string{"silent", "drained"} {
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "drained"})
	f.SetLastHeartbeatAge(t, "silent", hour)
	f.SetCheckerAges(t, 0, hour, hour)
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	got, err := f.Store.Regions(t.Context())
	shown, now := mustGet(t, f.Store, "a"), mustChanges(t, f.Store, 0, nil, 1).AsOf
	for i := range got {
		if at := got[i].AsOf; at.Before(shown.UpdatedAt) || at.After(now) {
			t.Errorf("region %s is as of %v, want between %v and %v", got[i].Region, at, shown.UpdatedAt, now)
		}
		got[i].AsOf = time.Time{}
	}
	want := []service.Region{
		{
			Region:       "eu",
			Controllers:  countsByState(1, 1, 1, 1, 1),
			Stale:        1,
			Meetings:     service.RegionCapacity{Max: 20, Current: 9, Largest: 10, Limits: 50, Load: 12},
			Participants: service.RegionCapacity{Max: 200, Current: 12, Largest: 100, Limits: 500, Load: 16},
		},
		{
			Region:       "us",
			Controllers:  countsByState(1, 0, 0, 0, 0),
			Meetings:     service.RegionCapacity{Limits: 2147483647},
			Participants: service.RegionCapacity{Limits: 100},
		},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Regions() = %v, (-want +got):\n%s", err, diff)
	}
}

// counts is how many controllers there are in each state, in the order of [service.HealthStatuses].
func countsByState(each ...int64) map[service.HealthStatus]int64 {
	all := map[service.HealthStatus]int64{}
	for i, state := range service.HealthStatuses() {
		all[state] = each[i]
	}
	return all
}

func testUnsafeDrains(t *testing.T, f Fixture) {
	for _, id := range []string{"a", "b", "c"} { // Ten meetings each at the most, and three that run.
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}
	mustRegister(t, f.Store, "pending")
	planned, err := f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "a", DryRun: true}, "operator")
	if err != nil || !planned.Plan.IsSafe() || planned.Plan.MeetingsAffected != 3 || planned.Transition != nil || planned.Controller.Drain != nil {
		t.Errorf("dry run = %+v, %v, want a safe plan and nothing done", planned, err)
	}
	if before, after := planned.Plan.Before, planned.Plan.After; before.Meetings.Max != 30 || after.Meetings.Max != 20 || after.Meetings.Current != 9 ||
		after.Meetings.FreeWithoutLargest() != 1 || after.Controllers[service.HealthDraining] != 1 || after.Controllers[service.HealthHealthy] != 2 {
		t.Errorf("plan = %+v, want the region with it and without", planned.Plan)
	}
	// As the second of two: "a" is taken for draining, and so is who is not there.
	planned, err = f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "b", DryRun: true, AssumeDrained: []string{"a", "nobody"}}, "operator")
	if err != nil || planned.Plan.IsSafe() || planned.Plan.Before.Meetings.Max != 20 || planned.Plan.After.Meetings.Max != 10 || planned.Plan.After.Controllers[service.HealthDraining] != 2 {
		t.Errorf("dry run of the second = %+v, %v, want it not safe", planned.Plan, err)
	}
	if c := mustGet(t, f.Store, "a"); c.Drain != nil || c.Generation != 0 {
		t.Errorf("after a dry run = %+v, want it as it was", c)
	}
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "a"})

	var unsafe *service.UnsafeError
	_, err = f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "b"}, "operator")
	if !errors.As(err, &unsafe) || unsafe.Plan.IsSafe() || unsafe.Plan.After.Meetings.FreeWithoutLargest() != -9 {
		t.Errorf("Drain(b) = %v, want it refused: c alone could not be lost", err)
	}
	planned, err = f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "b", DryRun: true}, "operator")
	if err != nil || planned.Plan.IsSafe() {
		t.Errorf("dry run = %+v, %v, want a plan that is not safe", planned.Plan, err)
	}
	if c := mustGet(t, f.Store, "b"); c.Health != service.HealthHealthy || c.Generation != 0 {
		t.Errorf("after a refusal = %+v, want it as it was", c)
	}
	forced := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "b", Reason: "fire", Force: true})
	if forced.Plan.IsSafe() || forced.Transition == nil || forced.Transition.Reason != "fire (forced)" {
		t.Errorf("forced = %+v, want it done and recorded as forced", forced)
	}
	if _, err := f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "c"}, "operator"); !errors.As(err, &unsafe) || unsafe.Plan.After.Serving() != 0 {
		t.Errorf("Drain(c) = %v, want it refused: nobody would be left", err)
	}
	if got := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "pending"}); !got.Plan.IsSafe() {
		t.Errorf("Drain(pending) = %+v, want it safe: it takes no meetings", got.Plan)
	}
}

// testDrainsTogether: each of two drains is safe as long as the other does not happen.
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
		// Twelve meetings run; three controllers hold 20 without the largest, two only 10.
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
			t.Errorf("%d of 4 were drained at once, want 1", drained)
		}
	}
}
