package storetest

import (
	"strings"
	"testing"

	"darktower.example/global-controller/service"
)

func testOwners(t *testing.T, f Fixture) {
	register := func(id, subject string) {
		t.Helper()
		if _, err := f.Store.Register(t.Context(), registration(id), subject); err != nil {
			t.Fatalf("Register(%s) by %.20s = %v", id, subject, err)
		}
	}
	wantOwned := func(subject string, want int) {
		t.Helper()
		if got, err := f.Store.CountOwned(t.Context(), subject); err != nil || got != want {
			t.Errorf("CountOwned(%.20s) = %d, %v, want %d", subject, got, err, want)
		}
	}

	wantOwned("a", 0)
	register("mc-1", "a")
	register("mc-2", "a")
	register("mc-2", "a")
	wantOwned("a", 2)

	register("mc-2", "b")
	mustHeartbeat(t, f.Store, service.HeartbeatWrite{ControllerID: "mc-1", Reported: service.HealthHealthy, Actor: "b"})
	wantOwned("a", 1)
	wantOwned("b", 1)

	if _, err := f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: "mc-2"}, "operator", false); err != nil {
		t.Fatalf("Deregister() = %v", err)
	}
	wantOwned("b", 0)

	// A subject can have any characters and almost the length of a token.
	long := strings.Repeat("ä\x00", 2000)
	register("mc-3", long+"1")
	register("mc-4", long+"2")
	wantOwned(long+"1", 1)
	wantOwned(long+"2", 1)
}
