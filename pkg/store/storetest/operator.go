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

func testDrainIsSticky(t *testing.T, f Fixture) {
	mustRegisterAs(t, f.Store, "mc", "one")
	mustBeat(t, f.Store, beatOf("mc", "one", 3))
	deadline := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	drained := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Reason: "kernel", Deadline: deadline})
	want := &service.Transition{
		ControllerID: "mc", Region: "eu", From: service.HealthHealthy, To: service.HealthDraining, Cause: service.CauseOperator, Actor: "operator",
		Reason: "kernel", Reported: service.HealthHealthy,
	}
	if diff := cmp.Diff(want, drained.Transition, varying); diff != "" {
		t.Errorf("drain (-want +got):\n%s", diff)
	}
	d := drained.Controller.Drain
	if d == nil || d.Reason != "kernel" || d.By != "operator" || !d.Deadline.Equal(deadline) || d.Since.IsZero() || drained.Controller.Generation != 1 {
		t.Errorf("drained = %+v %+v, want the operator's intent, and generation 1", drained.Controller, d)
	}
	if diff := cmp.Diff(drained.Controller, mustGet(t, f.Store, "mc")); diff != "" {
		t.Errorf("what Drain returned is not what is stored (-returned +stored):\n%s", diff)
	}
	intent := service.Intent{Draining: true, Deadline: deadline, Reason: "kernel"}
	for _, reported := range service.HealthStatuses() {
		h := beatOf("mc", "one", 3)
		h.Reported = reported
		got := mustBeat(t, f.Store, h)
		if got.Transition != nil {
			t.Errorf("reporting %s = %+v, want no change", reported, got.Transition)
		}
		if diff := cmp.Diff(intent, got.Intent); diff != "" {
			t.Errorf("intent (-want +got):\n%s", diff)
		}
	}
	for _, incarnation := range []string{"one", "", "two"} {
		got := mustRegisterAs(t, f.Store, "mc", incarnation)
		if got.Transition != nil {
			t.Errorf("registering as %q = %+v, want no change", incarnation, got.Transition)
		}
		if diff := cmp.Diff(intent, got.Intent); diff != "" {
			t.Errorf("intent (-want +got):\n%s", diff)
		}
	}
	again := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc"})
	if c := again.Controller; again.Transition != nil || !c.Drain.Since.Equal(d.Since) || !c.Drain.Deadline.IsZero() || c.Drain.Reason != "" || c.Generation != 2 {
		t.Errorf("draining again = %+v, want it draining since then, under the new order", c.Drain)
	}
}

func testGenerations(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	seen := mustGet(t, f.Store, "mc").Generation
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", ExpectedGeneration: &seen})
	if _, err := f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "mc", ExpectedGeneration: &seen}, "late"); !errors.Is(err, service.ErrConflict) {
		t.Errorf("Drain() = %v, want ErrConflict", err)
	}
	if _, err := f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: "mc", ExpectedGeneration: &seen}, "late"); !errors.Is(err, service.ErrConflict) {
		t.Errorf("Undrain() = %v, want ErrConflict", err)
	}
	if _, err := f.Store.Drain(t.Context(), service.DrainOrder{ControllerID: "nobody"}, "operator"); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Drain(nobody) = %v, want ErrNotRegistered", err)
	}
	if c := mustGet(t, f.Store, "mc"); c.Drain == nil || c.Drain.By != "operator" || c.Generation != 1 {
		t.Errorf("controller = %+v, want the first order to stand", c)
	}
}

func testUndrainInventsNothing(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc"})
	got, err := f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: "mc", Reason: "done"}, "operator")
	if err != nil || got.Controller.Health != service.HealthPending || got.Controller.Drain != nil || got.Transition == nil || got.Transition.Reason != "done" {
		t.Errorf("Undrain() = %+v, %v, want it pending as it had registered", got, err)
	}
	got, err = f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: "mc"}, "operator")
	if err != nil || got.Transition != nil || got.Controller.Generation != 2 {
		t.Errorf("Undrain() again = %+v, %v, want nothing changed", got, err)
	}
	if result := mustBeat(t, f.Store, heartbeat("mc", service.HealthHealthy)); result.Intent.Draining {
		t.Errorf("intent = %+v, want none", result.Intent)
	}
}

func testDeregister(t *testing.T, f Fixture) {
	mustRegisterAs(t, f.Store, "mc", "one")
	if _, err := f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", Incarnation: "other"}, "client", true); !errors.Is(err, service.ErrSuperseded) {
		t.Errorf("Deregister(other) = %v, want ErrSuperseded", err)
	}
	change, err := f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", Incarnation: "one"}, "client", true)
	want := &service.Transition{
		ControllerID: "mc", Region: "eu", From: service.HealthPending, Cause: service.CauseRetired, Actor: "client", Reason: "deregistered itself",
		Reported: service.HealthPending,
	}
	if diff := cmp.Diff(want, change, varying); err != nil || diff != "" {
		t.Errorf("Deregister() = %v (-want +got):\n%s", err, diff)
	}
	if _, err := f.Store.Controller(t.Context(), "mc"); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Controller() = %v, want ErrNotRegistered", err)
	}
	if _, err := f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc"}, "operator", false); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Deregister(again) = %v, want ErrNotRegistered", err)
	}
	// What an operator drains does not slip out of the drain by leaving and coming back.
	mustRegisterAs(t, f.Store, "mc", "two")
	mustBeat(t, f.Store, beatOf("mc", "two", 4))
	mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Reason: "kernel"})
	if change, err = f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", Incarnation: "two"}, "client", true); err != nil || change != nil {
		t.Errorf("Deregister(drained) = %+v, %v, want no change", change, err)
	}
	if c := mustGet(t, f.Store, "mc"); c.Drain == nil || c.CurrentMeetings != 0 || c.Facts.Reported != service.HealthDraining {
		t.Errorf("controller = %+v, want it to be empty and draining still", c)
	}
	if got := mustRegisterAs(t, f.Store, "mc", "three"); !got.Intent.Draining {
		t.Errorf("coming back = %+v, want it draining", got)
	}
	change, err = f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc", Reason: "scrapped"}, "operator", false)
	if err != nil || change == nil || change.Cause != service.CauseOperator || change.Reason != "scrapped" || change.To != "" {
		t.Errorf("Deregister(by an operator) = %+v, %v, want it gone", change, err)
	}
}

func testHistoryPages(t *testing.T, f Fixture) {
	for _, id := range []string{"a", "b", "a", "b"} {
		mustRegister(t, f.Store, id)
		mustBeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}
	stored := f.History(t)
	var read []service.Transition
	for after := int64(0); ; {
		page, err := f.Store.Transitions(t.Context(), service.TransitionFilter{After: after, Limit: 3})
		if err != nil {
			t.Fatalf("Transitions() = %v", err)
		}
		if len(page) == 0 {
			break
		}
		read, after = append(read, page...), page[len(page)-1].ID
	}
	for i := range read {
		if i > 0 && read[i].ID <= read[i-1].ID {
			t.Errorf("ids %d, %d do not rise", read[i-1].ID, read[i].ID)
		}
		read[i].ID = 0
	}
	if diff := cmp.Diff(stored, read); diff != "" || len(read) != 8 {
		t.Errorf("%d changes (-stored +read):\n%s", len(read), diff)
	}
	of, err := f.Store.Transitions(t.Context(), service.TransitionFilter{ControllerID: "b", Region: "eu", Limit: 10})
	if err != nil || len(of) != 4 {
		t.Errorf("Transitions(b) = %d, %v, want 4", len(of), err)
	}
	if none, err := f.Store.Transitions(t.Context(), service.TransitionFilter{Region: "us", Limit: 10}); err != nil || len(none) != 0 {
		t.Errorf("Transitions(us) = %d, %v, want none", len(none), err)
	}
}
