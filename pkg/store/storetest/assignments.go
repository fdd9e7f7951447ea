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

// reservation returns a reservation of a meeting in the region "eu" that lasts for an hour.
func reservation(meeting, controller string) service.Reservation {
	return service.Reservation{
		AssignmentKey: service.AssignmentKey{MeetingID: meeting, Region: "eu"},
		ControllerID:  controller,
		Reason:        "least loaded",
		ReplicaID:     "gc",
		Actor:         "joiner",
		Lifetime:      hour,
	}
}

// registerHealthy registers healthy controllers without an incarnation.
func registerHealthy(t *testing.T, s Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		mustRegister(t, s, id)
		mustHeartbeat(t, s, heartbeat(id, service.HealthHealthy))
	}
}

func mustReserve(t *testing.T, s Store, r service.Reservation) service.ReserveResult {
	t.Helper()
	result, err := s.Reserve(t.Context(), r)
	if err != nil {
		t.Fatalf("Reserve(%s on %s) = %v", r.MeetingID, r.ControllerID, err)
	}
	return result
}

func mustConfirm(t *testing.T, s Store, a service.Assignment) {
	t.Helper()
	isConfirmed, err := s.Confirm(t.Context(), service.Confirmation{AssignmentKey: a.AssignmentKey, Generation: a.Generation, Actor: "joiner"})
	if err != nil || !isConfirmed {
		t.Fatalf("Confirm(%s, %d) = %v, %v", a.MeetingID, a.Generation, isConfirmed, err)
	}
}

func testReserveAndConfirm(t *testing.T, f Fixture) {
	registerHealthy(t, f.Store, "a", "b")
	first := mustReserve(t, f.Store, reservation("m", "a"))
	if !first.IsOwn || first.Assignment.IsConfirmed || first.Assignment.ControllerID != "a" || first.Assignment.Generation == 0 {
		t.Fatalf("Reserve() = %+v, want an own reservation on a", first)
	}

	other := mustReserve(t, f.Store, reservation("m", "b"))
	if other.IsOwn || other.Assignment.ControllerID != "a" || other.Assignment.Generation != first.Assignment.Generation {
		t.Errorf("Reserve(again) = %+v, want the first reservation", other)
	}

	mustConfirm(t, f.Store, first.Assignment)
	got, err := f.Store.Assignment(t.Context(), first.Assignment.AssignmentKey)
	want := first.Assignment
	want.IsConfirmed = true
	if err != nil || got.ControllerID != want.ControllerID || got.Generation != want.Generation || !got.IsConfirmed || got.Reason != want.Reason {
		t.Errorf("Assignment() = %+v, %v, want the confirmed one on a", got, err)
	}

	// A second confirmation, and one of another generation, change nothing.
	for _, generation := range []int64{first.Assignment.Generation, first.Assignment.Generation + 1} {
		isConfirmed, err := f.Store.Confirm(t.Context(), service.Confirmation{AssignmentKey: got.AssignmentKey, Generation: generation})
		if err != nil || isConfirmed {
			t.Errorf("Confirm(generation %d) = %v, %v, want false", generation, isConfirmed, err)
		}
	}
}

func testOneReservationWins(t *testing.T, f Fixture) {
	registerHealthy(t, f.Store, "a", "b", "c")
	other := f.OpenReplica(t)
	const meetings, callers = 20, 8
	var mu sync.Mutex
	winners := make(map[string]map[int64]int) // meeting, generation, owners

	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			s := f.Store
			if caller%2 == 1 {
				s = other
			}
			for i := range meetings {
				meeting := fmt.Sprintf("m-%d", i)
				result, err := s.Reserve(t.Context(), reservation(meeting, []string{"a", "b", "c"}[caller%3]))
				if err != nil {
					t.Errorf("Reserve(%s) = %v", meeting, err)
					continue
				}
				mu.Lock()
				if winners[meeting] == nil {
					winners[meeting] = make(map[int64]int)
				}
				if result.IsOwn {
					winners[meeting][result.Assignment.Generation]++
				} else {
					winners[meeting][result.Assignment.Generation] += 0
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()

	seen := make(map[int64]bool)
	for meeting, generations := range winners {
		if len(generations) != 1 {
			t.Errorf("%s has generations %v, want all callers to see one", meeting, generations)
		}
		for generation, owners := range generations {
			if owners != 1 || seen[generation] {
				t.Errorf("%s, generation %d: %d owners, want one, and no generation twice", meeting, generation, owners)
			}
			seen[generation] = true
		}
	}
}

func testAssignmentEligibility(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "pending")
	registerHealthy(t, f.Store, "draining", "healthy")
	f.SetDraining(t, "draining")
	for _, id := range []string{"pending", "draining", "unknown"} {
		if got, err := f.Store.Reserve(t.Context(), reservation("m", id)); !errors.Is(err, service.ErrNotEligible) {
			t.Errorf("Reserve(on %s) = %+v, %v, want ErrNotEligible", id, got, err)
		}
	}

	// The controller's process must be the one that was chosen.
	r := reservation("m", "healthy")
	r.Incarnation = "another"
	if got, err := f.Store.Reserve(t.Context(), r); !errors.Is(err, service.ErrNotEligible) {
		t.Errorf("Reserve(on another incarnation) = %+v, %v, want ErrNotEligible", got, err)
	}
	if _, err := f.Store.Assignment(t.Context(), r.AssignmentKey); !errors.Is(err, service.ErrNotAssigned) {
		t.Errorf("Assignment() = %v, want ErrNotAssigned", err)
	}
	if got := mustReserve(t, f.Store, reservation("m", "healthy")); !got.IsOwn {
		t.Errorf("Reserve(on healthy) = %+v, want an own reservation", got)
	}
}

func testReservationExpires(t *testing.T, f Fixture) {
	registerHealthy(t, f.Store, "a", "b")
	short := reservation("m", "a")
	short.Lifetime = time.Millisecond
	first := mustReserve(t, f.Store, short)

	deadline := time.Now().Add(waitTimeout)
	second := mustReserve(t, f.Store, reservation("m", "b"))
	for ; !second.IsOwn; second = mustReserve(t, f.Store, reservation("m", "b")) {
		if time.Now().After(deadline) {
			t.Fatal("the reservation does not expire")
		}
	}
	if second.Assignment.Generation <= first.Assignment.Generation {
		t.Errorf("generation %d after %d, want it to grow", second.Assignment.Generation, first.Assignment.Generation)
	}

	late := service.Confirmation{AssignmentKey: first.Assignment.AssignmentKey, Generation: first.Assignment.Generation}
	isConfirmed, err := f.Store.Confirm(t.Context(), late)
	if err != nil || isConfirmed {
		t.Errorf("Confirm(expired) = %v, %v, want false", isConfirmed, err)
	}
	if err := f.Store.Release(t.Context(), second.Assignment.AssignmentKey, second.Assignment.Generation); err != nil {
		t.Fatalf("Release() = %v", err)
	}
	if _, err := f.Store.Assignment(t.Context(), second.Assignment.AssignmentKey); !errors.Is(err, service.ErrNotAssigned) {
		t.Errorf("Assignment(released) = %v, want ErrNotAssigned", err)
	}
}

func testAssignmentOfStaleController(t *testing.T, f Fixture) {
	registerHealthy(t, f.Store, "a", "b")
	confirmed := reservation("m", "a")
	confirmed.Lifetime = 0
	first := mustReserve(t, f.Store, confirmed)
	if !first.IsOwn || !first.Assignment.IsConfirmed {
		t.Fatalf("Reserve(lifetime 0) = %+v, want a confirmed assignment", first)
	}

	// A draining controller keeps its meeting.
	f.SetDraining(t, "a")
	if got := mustReserve(t, f.Store, reservation("m", "b")); got.IsOwn || got.Assignment.ControllerID != "a" {
		t.Errorf("Reserve(while a drains) = %+v, want the assignment on a", got)
	}

	// One whose row is gone loses it.
	f.DeleteRow(t, "a")
	confirmed.ControllerID = "b"
	second := mustReserve(t, f.Store, confirmed)
	if !second.IsOwn || second.Assignment.ControllerID != "b" || second.Assignment.Generation <= first.Assignment.Generation {
		t.Errorf("Reserve(after a left) = %+v, want a new assignment on b", second)
	}
}

func testEndAssignment(t *testing.T, f Fixture) {
	registerHealthy(t, f.Store, "a")
	confirmed := reservation("m", "a")
	confirmed.Lifetime = 0
	first := mustReserve(t, f.Store, confirmed).Assignment
	us := confirmed
	us.Region = "us"
	mustReserve(t, f.Store, us)

	wrong := first.Generation + 100
	end := service.AssignmentEnd{AssignmentKey: first.AssignmentKey, Reason: "over", Actor: "joiner", ExpectedGeneration: &wrong}
	if _, err := f.Store.EndAssignment(t.Context(), end); !errors.Is(err, service.ErrConflict) {
		t.Errorf("EndAssignment(another generation) = %v, want ErrConflict", err)
	}

	end.ExpectedGeneration = &first.Generation
	if got, err := f.Store.EndAssignment(t.Context(), end); err != nil || got.Generation != first.Generation {
		t.Errorf("EndAssignment() = %+v, %v", got, err)
	}
	if _, err := f.Store.EndAssignment(t.Context(), end); !errors.Is(err, service.ErrNotAssigned) {
		t.Errorf("EndAssignment(again) = %v, want ErrNotAssigned", err)
	}
	if _, err := f.Store.Assignment(t.Context(), us.AssignmentKey); err != nil {
		t.Errorf("Assignment(other region) = %v, want it untouched", err)
	}
	if again := mustReserve(t, f.Store, confirmed); !again.IsOwn || again.Assignment.Generation <= first.Generation {
		t.Errorf("Reserve(after the end) = %+v, want a new one with a higher generation", again)
	}
}

func testAssignedLoads(t *testing.T, f Fixture) {
	registerHealthy(t, f.Store, "a", "b")
	for i := range 3 {
		r := reservation(fmt.Sprintf("m-%d", i), "a")
		r.ExpectedParticipants = 10
		mustReserve(t, f.Store, r)
	}

	loads, err := f.Store.AssignedLoads(t.Context(), mustGet(t, f.Store, "a").Region)
	want := []service.AssignedLoad{{ControllerID: "a", Meetings: 3, Participants: 30, MeetingsSince: 3, ParticipantsSince: 30}}
	if diff := cmp.Diff(want, loads); err != nil || diff != "" {
		t.Errorf("AssignedLoads() = %v (-want +got):\n%s", err, diff)
	}

	// A heartbeat after the assignments reports them.
	f.SetLastHeartbeatAge(t, "a", -hour)
	want[0].MeetingsSince, want[0].ParticipantsSince = 0, 0
	loads, err = f.Store.AssignedLoads(t.Context(), mustGet(t, f.Store, "a").Region)
	if diff := cmp.Diff(want, loads); err != nil || diff != "" {
		t.Errorf("AssignedLoads(after a heartbeat) = %v (-want +got):\n%s", err, diff)
	}
}

func testListAssignments(t *testing.T, f Fixture) {
	registerHealthy(t, f.Store, "a", "b")
	for i := range 5 {
		r := reservation(fmt.Sprintf("m-%d", i), []string{"a", "b"}[i%2])
		r.Lifetime = 0
		mustReserve(t, f.Store, r)
	}
	mustReserve(t, f.Store, reservation("reserved-only", "a"))

	for _, tc := range []struct {
		name   string
		filter service.AssignmentFilter
		want   int
	}{
		{"all", service.AssignmentFilter{Limit: 10}, 5},
		{"of a controller", service.AssignmentFilter{ControllerID: "a", Limit: 10}, 3},
		{"of a meeting", service.AssignmentFilter{MeetingID: "m-1", Limit: 10}, 1},
		{"of another region", service.AssignmentFilter{Region: "us", Limit: 10}, 0},
		{"a page", service.AssignmentFilter{Limit: 2}, 2},
		{"the rest", service.AssignmentFilter{After: service.AssignmentKey{MeetingID: "m-1", Region: "eu"}, Limit: 10}, 3},
	} {
		got, err := f.Store.Assignments(t.Context(), tc.filter)
		if err != nil || len(got) != tc.want {
			t.Errorf("Assignments(%s) = %d, %v, want %d", tc.name, len(got), err, tc.want)
		}
	}
}
