package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

// waitTimeout limits the wait for an event that must happen.
const waitTimeout = 20 * time.Second

func mustChanges(t *testing.T, s Store, after int64, missing []int64, limit int) service.ChangePage {
	t.Helper()
	page, err := s.Changes(t.Context(), after, missing, limit)
	if err != nil {
		t.Fatalf("Changes() = %v", err)
	}
	return page
}

func testChanges(t *testing.T, f Fixture) {
	empty := mustChanges(t, f.Store, 0, []int64{1, 2}, 10)
	if empty.Oldest != 0 || empty.Newest != 0 || len(empty.Transitions) != 0 || empty.AsOf.IsZero() {
		t.Errorf("an empty history = %+v, want only the time", empty)
	}

	for i := range 5 {
		mustRegister(t, f.Store, fmt.Sprintf("mc-%d", i))
	}

	all := mustChanges(t, f.Store, 0, nil, 10)
	if len(all.Transitions) != 5 || all.Oldest != all.Transitions[0].ID || all.Newest != all.Transitions[4].ID {
		t.Fatalf("history = %+v, want five transitions, the oldest and the newest id", all)
	}

	first, last := all.Oldest, all.Newest
	page := mustChanges(t, f.Store, last-2, []int64{first, first + 1, last + 1000}, 1)
	var ids []int64
	for _, c := range page.Transitions {
		ids = append(ids, c.ID)
	}

	if diff := cmp.Diff([]int64{first, first + 1, last - 1}, ids); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}

	stored, err := f.Store.Transitions(t.Context(), service.TransitionFilter{Limit: 10})
	if diff := cmp.Diff(stored.Transitions, all.Transitions); err != nil || diff != "" {
		t.Errorf("Transitions() and Changes() differ, %v (-transitions +changes):\n%s", err, diff)
	}

	missing := make([]int64, 4096)
	for i := range missing {
		missing[i] = last + 1 + int64(i)
	}

	if got := mustChanges(t, f.Store, last, missing, 10); len(got.Transitions) != 0 {
		t.Errorf("changes = %+v, want none", got.Transitions)
	}
}

func testControllersByID(t *testing.T, f Fixture) {
	var ids []string
	for i := range 3 {
		mustRegister(t, f.Store, fmt.Sprintf("mc-%d", i))
	}
	for i := range 2100 {
		ids = append(ids, fmt.Sprintf("mc-%d", i))
	}

	found, err := f.Store.ControllersByID(t.Context(), ids)
	if err != nil || len(found) != 3 {
		t.Fatalf("ControllersByID() = %d, %v, want the three registered controllers", len(found), err)
	}

	for _, c := range found {
		if c.AsOf.IsZero() {
			t.Errorf("%s has no AsOf", c.ControllerID)
		}
		shown := mustGet(t, f.Store, c.ControllerID)
		shown.AsOf = c.AsOf
		if diff := cmp.Diff(shown, c); diff != "" {
			t.Errorf("ControllersByID() and Controller() differ (-Controller +ControllersByID):\n%s", diff)
		}
	}

	if none, err := f.Store.ControllersByID(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("ControllersByID(none) = %v, %v", none, err)
	}
}

func testControllersUpdated(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "before")
	mustRegister(t, f.Store, "mc")

	// The clock of one of the databases has a resolution of a millisecond.
	since := mustChanges(t, f.Store, 0, nil, 1).AsOf.Add(time.Millisecond)
	deadline := time.Now().Add(waitTimeout)
	for mustChanges(t, f.Store, 0, nil, 1).AsOf.Before(since) && time.Now().Before(deadline) {
	}

	mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy))
	found, err := f.Store.ControllersUpdated(t.Context(), since)
	if err != nil || len(found) != 1 {
		t.Fatalf("ControllersUpdated() = %+v, %v, want the controller that sent a heartbeat", found, err)
	}

	c := mustGet(t, f.Store, "mc")
	want := service.ControllerUpdate{
		ControllerID:        "mc",
		CurrentMeetings:     c.CurrentMeetings,
		CurrentParticipants: c.CurrentParticipants,
		CPUUsagePercent:     c.CPUUsagePercent,
		MemoryUsagePercent:  c.MemoryUsagePercent,
		LastHeartbeatAt:     c.LastHeartbeatAt,
		UpdatedAt:           c.UpdatedAt,
		AsOf:                found[0].AsOf,
		MaxMeetings:         c.MaxMeetings,
		MaxParticipants:     c.MaxParticipants,
		Facts:               c.Facts,
		Health:              c.Health,
		Generation:          c.Generation,
	}
	if diff := cmp.Diff(want, found[0]); diff != "" || found[0].AsOf.Before(c.UpdatedAt) {
		t.Errorf("ControllersUpdated() (-want +got), as of %v:\n%s", found[0].AsOf, diff)
	}

	if all, err := f.Store.ControllersUpdated(t.Context(), since.Add(-hour)); err != nil || len(all) != 2 {
		t.Errorf("ControllersUpdated(since an hour ago) = %d, %v, want both", len(all), err)
	}
}

// listen collects the announcements of commits until the test ends. It ignores announcements that follow no commit: those of
// everything follow a new connection, and polled ones follow the clock.
func listen(t *testing.T, s Store) <-chan service.Announcement {
	announcements := make(chan service.Announcement, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Listen(ctx, func(a service.Announcement) {
			if !a.Polled && !a.Everything {
				announcements <- a
			}
		})
	}()

	t.Cleanup(func() {
		cancel()
		<-ended
	})

	return announcements
}

// wantAnnounced waits for an announcement that names the controller. For an empty id it waits for any announcement.
func wantAnnounced(t *testing.T, announcements <-chan service.Announcement, what, id string) {
	t.Helper()
	timeout := time.After(waitTimeout)
	for {
		select {
		case a := <-announcements:
			if id == "" || slices.Contains(a.ControllerIDs, id) {
				return
			}
		case <-timeout:
			t.Fatalf("%s was not announced", what)
		}
	}
}

// testAnnouncements: every commit with a change is announced, and a heartbeat that changes only the load is not.
func testAnnouncements(t *testing.T, f Fixture) {
	announcements := listen(t, f.Store)
	timeout := time.After(waitTimeout)
	for n := 0; len(announcements) == 0; n++ { // until Listen has started
		mustRegister(t, f.Store, fmt.Sprintf("first-%d", n))
		select {
		case <-timeout:
			t.Fatal("no commit is announced")
		default:
		}
	}

	discard := func() {
		for len(announcements) > 0 {
			<-announcements
		}
	}

	discard()
	mustRegisterAs(t, f.Store, "mc", "one")
	wantAnnounced(t, announcements, "a registration", "")
	discard()

	mustRegisterAs(t, f.Store, "mc", "one")
	wantAnnounced(t, announcements, "a registration that changed no state", "mc")
	discard()

	mustHeartbeat(t, f.Store, heartbeatAs("mc", "one", 3))
	wantAnnounced(t, announcements, "a heartbeat that changed the state", "")
	discard()

	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Force: true})
	wantAnnounced(t, announcements, "a drain", "")
	discard()

	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Reason: "another", Force: true})
	wantAnnounced(t, announcements, "another drain", "mc")
	discard()

	f.Store.RecordConflict("mc")
	mustWriteConflicts(t, f.Store)
	wantAnnounced(t, announcements, "a conflict", "mc")
	discard()

	f.SetCheckerAges(t, 0, hour, hour)
	f.SetLastHeartbeatAge(t, "first-0", hour)
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	wantAnnounced(t, announcements, "a sweep", "")
	discard()

	if _, err := f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc"}, "operator", false); err != nil {
		t.Fatalf("Deregister() = %v", err)
	}
	wantAnnounced(t, announcements, "a deregistration", "")
	discard()

	for range 50 {
		mustHeartbeat(t, f.Store, heartbeat("first-0", service.HealthPending))
		discard() // The first heartbeat ends the staleness.
	}

	mustHeartbeat(t, f.Store, heartbeat("first-0", service.HealthPending))
	if n := len(announcements); n != 0 {
		t.Errorf("%d announcements of a heartbeat that changed nothing, want none", n)
	}
}
