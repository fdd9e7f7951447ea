package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/internal/testfill"
	"darktower.example/global-controller/service"
)

// testEveryField checks that every field is stored and read. Statements and scans list their columns, so one that lacks a column would
// lose the field without an error.
func testEveryField(t *testing.T, f Fixture) {
	var registration service.Registration
	testfill.Fill(t, &registration, 1)
	if _, err := f.Store.Register(t.Context(), registration, "client"); err != nil {
		t.Fatal(err)
	}

	var heartbeat service.HeartbeatWrite
	testfill.Fill(t, &heartbeat, 1)
	mustHeartbeat(t, f.Store, heartbeat)

	id := registration.ControllerID
	f.Store.RecordConflict(id)
	if err := f.Store.WriteConflicts(t.Context()); err != nil {
		t.Fatal(err)
	}
	order := service.DrainOrder{ControllerID: id, Reason: "kernel", Deadline: time.Now().Add(time.Hour), Force: true}
	if _, err := f.Store.Drain(t.Context(), order, "operator"); err != nil {
		t.Fatal(err)
	}

	controller, err := f.Store.Controller(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	checkFilled(t, "Controller()", &controller)
	checkReads(t, f.Store, controller)
}

// checkReads checks that the other reads return the same controller.
func checkReads(t *testing.T, s Store, want service.Controller) {
	t.Helper()
	listed, err := s.Controllers(t.Context(), service.ControllerFilter{Limit: 10})
	if err != nil || len(listed) != 1 {
		t.Fatalf("Controllers() = %+v, %v, want one", listed, err)
	}
	if diff := cmp.Diff(withoutAsOf(want), withoutAsOf(listed[0])); diff != "" {
		t.Errorf("Controllers() differs from Controller():\n%s", diff)
	}

	selected, err := s.ControllersByID(t.Context(), []string{want.ControllerID})
	if err != nil || len(selected) != 1 {
		t.Fatalf("ControllersByID() = %+v, %v, want one", selected, err)
	}
	if diff := cmp.Diff(withoutAsOf(want), withoutAsOf(selected[0])); diff != "" {
		t.Errorf("ControllersByID() differs from Controller():\n%s", diff)
	}

	updates, err := s.ControllersUpdated(t.Context(), time.Time{})
	if err != nil || len(updates) != 1 {
		t.Fatalf("ControllersUpdated() = %+v, %v, want one", updates, err)
	}
	checkFilled(t, "ControllersUpdated()", &updates[0])
}

// checkFilled checks that a result has no empty field. A controller that is not stale has one.
func checkFilled(t *testing.T, method string, result any) {
	t.Helper()
	for _, path := range slices.DeleteFunc(testfill.Empty(result), func(path string) bool { return path == "Facts.Stale" }) {
		t.Errorf("%s leaves %s empty: add its column to the statements and scans of the store", method, path)
	}
}
