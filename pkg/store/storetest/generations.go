package storetest

import (
	"errors"
	"testing"

	"darktower.example/global-controller/service"
)

// testGenerationsNeverRepeat: a controller that leaves and registers again has a generation above all its earlier ones, however it
// left.
func testGenerationsNeverRepeat(t *testing.T, f Fixture) {
	remove := map[string]func(id string){
		"deregistered": func(id string) {
			if _, err := f.Store.Deregister(t.Context(), service.Deregistration{ControllerID: id}, "operator", false); err != nil {
				t.Fatalf("Deregister() = %v", err)
			}
		},
		"deleted by hand": func(id string) { f.DeleteRow(t, id) },
		"retired": func(id string) {
			if _, err := f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: id}, "operator"); err != nil {
				t.Fatalf("Undrain() = %v", err)
			}
			mustRetireSilent(t, f, id)
		},
	}
	mustRegister(t, f.Store, "first")
	if got := mustGet(t, f.Store, "first").Generation; got != 0 {
		t.Errorf("generation in a fresh store = %d, want 0", got)
	}

	for how, remove := range remove {
		lastSeen := int64(-1)
		for range 3 {
			mustRegister(t, f.Store, "mc")
			registered := mustGet(t, f.Store, "mc").Generation
			if registered <= lastSeen {
				t.Errorf("%s: registered again with generation %d, want more than %d", how, registered, lastSeen)
			}
			again := mustRegister(t, f.Store, "mc")
			if got := mustGet(t, f.Store, "mc").Generation; again != nil || got != registered {
				t.Errorf("%s: another registration made the generation %d, want %d", how, got, registered)
			}

			old := lastSeen
			drained := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Force: true})
			lastSeen = drained.Controller.Generation
			if lastSeen <= registered {
				t.Errorf("%s: drained with generation %d, want more than %d", how, lastSeen, registered)
			}
			if old >= 0 {
				_, err := f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: "mc", ExpectedGeneration: &old}, "operator")
				if !errors.Is(err, service.ErrConflict) {
					t.Errorf("%s: Undrain(generation %d from before it left) = %v, want ErrConflict", how, old, err)
				}
			}
			remove("mc")
		}
	}
}

func mustRetireSilent(t *testing.T, f Fixture, id string) {
	t.Helper()
	f.SetCheckerAges(t, 0, hour, hour)
	f.SetLastHeartbeatAge(t, id, 2*hour)
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	got := mustPrune(t, f.Store, service.RetentionPolicy{
		Stale:     hour,
		Threshold: sweepPolicy.Threshold,
		Tolerance: sweepPolicy.Tolerance,
		Actor:     "gc",
	})
	if len(got.Retired) != 1 {
		t.Fatalf("Prune() = %+v, want one retired", got)
	}
}
