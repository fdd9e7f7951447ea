package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

func mustDrain(t *testing.T, s Store, order service.DrainOrder) service.OperatorResult {
	t.Helper()
	result, err := s.Drain(t.Context(), order, "operator")
	if err != nil {
		t.Fatalf("Drain(%s) = %v", order.ControllerID, err)
	}
	return result
}

// mustAddCapacity adds controllers with enough capacity for the region to lose any other controller.
func mustAddCapacity(t *testing.T, s Store) {
	t.Helper()
	for _, id := range []string{"spare-1", "spare-2"} {
		r := registration(id)
		r.MaxMeetings, r.MaxParticipants = 1000, 1000
		if _, err := s.Register(t.Context(), r, "client"); err != nil {
			t.Fatalf("Register(%s) = %v", id, err)
		}
		mustHeartbeat(t, s, heartbeat(id, service.HealthHealthy))
	}
}

func testDrainOutlastsReports(t *testing.T, f Fixture) {
	mustAddCapacity(t, f.Store)
	mustRegisterAs(t, f.Store, "mc", "one")
	mustHeartbeat(t, f.Store, heartbeatAs("mc", "one", 3))
	deadline := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	drained := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Reason: "kernel", Deadline: deadline})
	want := &service.Transition{
		ControllerID: "mc",
		Region:       "eu",
		From:         service.HealthHealthy,
		To:           service.HealthDraining,
		Cause:        service.CauseOperator,
		Actor:        "operator",
		Reason:       "kernel",
		Reported:     service.HealthHealthy,
	}
	if diff := cmp.Diff(want, drained.Transition, varying); diff != "" {
		t.Errorf("drain (-want +got):\n%s", diff)
	}

	d := drained.Controller.Drain
	if d == nil || d.Reason != "kernel" || d.By != "operator" || !d.Deadline.Equal(deadline) || d.Since.IsZero() {
		t.Errorf("drain = %+v, want the operator's intent", d)
	}
	if drained.Controller.Generation != 1 {
		t.Errorf("generation = %d, want 1", drained.Controller.Generation)
	}

	if diff := cmp.Diff(withoutAsOf(drained.Controller), mustGet(t, f.Store, "mc")); diff != "" {
		t.Errorf("Drain() and the stored controller differ (-returned +stored):\n%s", diff)
	}

	intent := service.Intent{Draining: true, Deadline: deadline, Reason: "kernel"}
	for _, reported := range service.HealthStatuses() {
		h := heartbeatAs("mc", "one", 3)
		h.Reported = reported
		got := mustHeartbeat(t, f.Store, h)
		if got.Transition != nil {
			t.Errorf("reporting %s = %+v, want no transition", reported, got.Transition)
		}
		if diff := cmp.Diff(intent, got.Intent); diff != "" {
			t.Errorf("intent (-want +got):\n%s", diff)
		}
	}

	for _, incarnation := range []string{"one", "", "two"} {
		got := mustRegisterAs(t, f.Store, "mc", incarnation)
		if got.Transition != nil {
			t.Errorf("registering as %q = %+v, want no transition", incarnation, got.Transition)
		}
		if diff := cmp.Diff(intent, got.Intent); diff != "" {
			t.Errorf("intent (-want +got):\n%s", diff)
		}
	}

	again := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc"})
	c := again.Controller
	if again.Transition != nil || !c.Drain.Since.Equal(d.Since) || !c.Drain.Deadline.IsZero() || c.Drain.Reason != "" || c.Generation != 2 {
		t.Errorf("draining again = %+v, want the drain of the new order since the first order", c.Drain)
	}
}

func testGenerations(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	seen := mustGet(t, f.Store, "mc").Generation
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", ExpectedGeneration: &seen})
	_, err := f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "mc", ExpectedGeneration: &seen}, "late")
	if !errors.Is(err, service.ErrConflict) {
		t.Errorf("Drain() = %v, want ErrConflict", err)
	}

	_, err = f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: "mc", ExpectedGeneration: &seen}, "late")
	if !errors.Is(err, service.ErrConflict) {
		t.Errorf("Undrain() = %v, want ErrConflict", err)
	}

	_, err = f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", ExpectedGeneration: &seen}, "late", false)
	if !errors.Is(err, service.ErrConflict) {
		t.Errorf("Deregister() = %v, want ErrConflict", err)
	}

	_, err = f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "unknown"}, "operator")
	if !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Drain(unknown) = %v, want ErrNotRegistered", err)
	}

	if c := mustGet(t, f.Store, "mc"); c.Drain == nil || c.Drain.By != "operator" || c.Generation != 1 {
		t.Errorf("controller = %+v, want the first order unchanged", c)
	}
}

func testUndrain(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc"})
	got, err := f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: "mc", Reason: "done"}, "operator")
	if err != nil || got.Controller.Health != service.HealthPending || got.Controller.Drain != nil {
		t.Errorf("Undrain() = %+v, %v, want it pending, as it was registered", got, err)
	}
	if got.Transition == nil || got.Transition.Reason != "done" {
		t.Errorf("transition = %+v, want one with the reason", got.Transition)
	}

	got, err = f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: "mc"}, "operator")
	if err != nil || got.Transition != nil || got.Controller.Generation != 2 {
		t.Errorf("Undrain() again = %+v, %v, want no transition", got, err)
	}

	if result := mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy)); result.Intent.Draining {
		t.Errorf("intent = %+v, want none", result.Intent)
	}
}

func testDeregister(t *testing.T, f Fixture) {
	mustRegisterAs(t, f.Store, "mc", "one")
	_, err := f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", Incarnation: "other"}, "client", true)
	if !errors.Is(err, service.ErrSuperseded) {
		t.Errorf("Deregister(other) = %v, want ErrSuperseded", err)
	}

	transition, err := f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", Incarnation: "one"}, "client", true)
	want := &service.Transition{
		ControllerID: "mc",
		Region:       "eu",
		From:         service.HealthPending,
		Cause:        service.CauseRetired,
		Actor:        "client",
		Reason:       "deregistered itself",
		Reported:     service.HealthPending,
	}
	if diff := cmp.Diff(want, transition, varying); err != nil || diff != "" {
		t.Errorf("Deregister() = %v (-want +got):\n%s", err, diff)
	}

	if _, err := f.Store.Controller(t.Context(), "mc"); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Controller() = %v, want ErrNotRegistered", err)
	}

	_, err = f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc"}, "operator", false)
	if !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Deregister(again) = %v, want ErrNotRegistered", err)
	}

	mustAddCapacity(t, f.Store)

	// A deployed controller registers without an incarnation, so an incarnation does not identify its process.
	mustRegister(t, f.Store, "mc-plain")
	plain := service.Deregistration{ControllerID: "mc-plain", Incarnation: "any"}
	if transition, err := f.Store.Deregister(t.Context(), plain, "client", true); !errors.Is(err, service.ErrForbidden) || transition != nil {
		t.Errorf("Deregister(without an incarnation, by itself) = %+v, %v, want ErrForbidden", transition, err)
	}
	mustGet(t, f.Store, "mc-plain")
	if _, err := f.Store.Deregister(t.Context(), plain, "operator", false); err != nil {
		t.Errorf("Deregister(without an incarnation, by an operator) = %v, want nil", err)
	}

	// A drain continues when the controller deregisters and registers again.
	mustRegisterAs(t, f.Store, "mc", "two")
	mustHeartbeat(t, f.Store, heartbeatAs("mc", "two", 4))
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Reason: "kernel"})
	transition, err = f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", Incarnation: "two"}, "client", true)
	if err != nil || transition != nil {
		t.Errorf("Deregister(drained) = %+v, %v, want no transition", transition, err)
	}
	if c := mustGet(t, f.Store, "mc"); c.Drain == nil || c.CurrentMeetings != 0 || c.Facts.Reported != service.HealthDraining {
		t.Errorf("controller = %+v, want it empty and still draining", c)
	}
	if got := mustRegisterAs(t, f.Store, "mc", "three"); !got.Intent.Draining {
		t.Errorf("registering again = %+v, want it draining", got)
	}

	transition, err = f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", Reason: "scrapped"}, "operator", false)
	if err != nil || transition == nil || transition.Cause != service.CauseOperator || transition.Reason != "scrapped" || transition.To != "" {
		t.Errorf("Deregister(by an operator) = %+v, %v, want its removal", transition, err)
	}
}

func testHistoryPages(t *testing.T, f Fixture) {
	for _, id := range []string{"a", "b", "a", "b"} {
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}

	stored := f.History(t)
	var read []service.Transition
	for after := int64(0); ; {
		page, err := f.Store.Transitions(t.Context(), service.TransitionFilter{After: after, Limit: 3})
		if err != nil {
			t.Fatalf("Transitions() = %v", err)
		}
		if len(page.Transitions) == 0 {
			break
		}
		read, after = append(read, page.Transitions...), page.Transitions[len(page.Transitions)-1].ID
	}

	for i := range read {
		if i > 0 && read[i].ID <= read[i-1].ID {
			t.Errorf("ids %d, %d are not ascending", read[i-1].ID, read[i].ID)
		}
		read[i].ID = 0
	}

	if diff := cmp.Diff(stored, read); diff != "" || len(read) != 8 {
		t.Errorf("%d transitions (-stored +read):\n%s", len(read), diff)
	}

	of, err := f.Store.Transitions(t.Context(), service.TransitionFilter{ControllerID: "b", Region: "eu", Limit: 10})
	if err != nil || len(of.Transitions) != 4 {
		t.Errorf("Transitions(b) = %d, %v, want 4", len(of.Transitions), err)
	}

	none, err := f.Store.Transitions(t.Context(), service.TransitionFilter{Region: "us", Limit: 10})
	if err != nil || len(none.Transitions) != 0 {
		t.Errorf("Transitions(us) = %d, %v, want none", len(none.Transitions), err)
	}
}

func testHistoryByTime(t *testing.T, f Fixture) {
	for _, health := range []service.HealthStatus{service.HealthHealthy, service.HealthDegraded, service.HealthHealthy} {
		mustRegister(t, f.Store, "mc")
		mustHeartbeat(t, f.Store, heartbeat("mc", health))
	}

	list, err := f.Store.Transitions(t.Context(), service.TransitionFilter{Limit: 100})
	all := list.Transitions
	if err != nil || len(all) != 6 {
		t.Fatalf("Transitions() = %d, %v, want 6", len(all), err)
	}

	ids := func(filter service.TransitionFilter) (found []int64) {
		t.Helper()
		if filter.Limit == 0 {
			filter.Limit = 100
		}
		page, err := f.Store.Transitions(t.Context(), filter)
		if err != nil {
			t.Fatalf("Transitions(%+v) = %v", filter, err)
		}
		for _, transition := range page.Transitions {
			found = append(found, transition.ID)
		}
		return found
	}

	var since, until []int64
	for _, transition := range all {
		if transition.At.Before(all[2].At) {
			until = append(until, transition.ID)
		} else {
			since = append(since, transition.ID)
		}
	}

	if diff := cmp.Diff(since, ids(service.TransitionFilter{Since: all[2].At})); diff != "" {
		t.Errorf("since (-want +got):\n%s", diff)
	}

	if diff := cmp.Diff(until, ids(service.TransitionFilter{Until: all[2].At})); diff != "" {
		t.Errorf("until (-want +got):\n%s", diff)
	}

	if diff := cmp.Diff([]int64{all[5].ID, all[4].ID}, ids(service.TransitionFilter{NewestFirst: true, Limit: 2})); diff != "" {
		t.Errorf("newest first (-want +got):\n%s", diff)
	}

	next := ids(service.TransitionFilter{NewestFirst: true, Before: all[4].ID, Limit: 2})
	if diff := cmp.Diff([]int64{all[3].ID, all[2].ID}, next); diff != "" {
		t.Errorf("next page (-want +got):\n%s", diff)
	}
}

func testDeadlines(t *testing.T, f Fixture) {
	mustAddCapacity(t, f.Store)
	mustRegister(t, f.Store, "mc")
	mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy))
	var invalid *service.InvalidError
	_, err := f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "mc", Deadline: time.Now().Add(-hour), Force: true}, "operator")
	if !errors.As(err, &invalid) || mustGet(t, f.Store, "mc").Drain != nil {
		t.Errorf("Drain(deadline in the past) = %v, want an InvalidError", err)
	}

	soon := time.Now().Add(time.Second).Truncate(time.Millisecond)
	got := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Deadline: soon}).Controller
	if got.AsOf.Before(soon) && (got.IsDrained() || got.IsPastDeadline()) {
		t.Errorf("drained = %+v as of %v, want it not drained before %v", got, got.AsOf, soon)
	}
	if got.CurrentMeetings == 0 || got.CurrentParticipants == 0 {
		t.Fatalf("%d meetings and %d participants, want some of each", got.CurrentMeetings, got.CurrentParticipants)
	}

	for got.AsOf.Before(soon) {
		if got, err = f.Store.Controller(t.Context(), "mc"); err != nil {
			t.Fatalf("Controller() = %v", err)
		}
		if passed := !got.AsOf.Before(soon); got.IsDrained() || got.IsPastDeadline() != passed {
			t.Fatalf("as of %v: drained %v, deadline passed %v, want false and %v", got.AsOf, got.IsDrained(), got.IsPastDeadline(), passed)
		}
	}

	// A controller is drained when it has neither meetings nor participants.
	for _, left := range []struct {
		meetings, participants int64
		drained                bool
	}{{1, 0, false}, {0, 1, false}, {0, 0, true}} {
		h := heartbeat("mc", service.HealthHealthy)
		h.CurrentMeetings, h.CurrentParticipants = left.meetings, left.participants
		mustHeartbeat(t, f.Store, h)

		got, err := f.Store.Controller(t.Context(), "mc")
		if err != nil {
			t.Fatalf("Controller() = %v", err)
		}
		if got.IsDrained() != left.drained || !got.IsPastDeadline() {
			t.Errorf("with %+v left: drained %v, deadline passed %v", left, got.IsDrained(), got.IsPastDeadline())
		}
	}
}
