package storetest

import (
	"errors"
	"testing"

	"darktower.example/global-controller/service"
)

// testGenerationsNeverRepeat: a controller that leaves and comes back, by whatever way, continues above every generation
// that anyone may have seen of it.
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
		seen := int64(-1)
		for range 3 {
			mustRegister(t, f.Store, "mc")
			came := mustGet(t, f.Store, "mc").Generation
			if came <= seen {
				t.Errorf("%s: came back with generation %d, want more than %d", how, came, seen)
			}
			if again := mustRegister(t, f.Store, "mc"); again != nil || mustGet(t, f.Store, "mc").Generation != came {
				t.Errorf("%s: registering again made the generation %d, want %d", how, mustGet(t, f.Store, "mc").Generation, came)
			}
			old := seen
			drained := mustDrain(t, f.Store, service.DrainOrder{ControllerID: "mc", Force: true})
			seen = drained.Controller.Generation
			if seen <= came {
				t.Errorf("%s: drained with generation %d, want more than %d", how, seen, came)
			}
			if old >= 0 {
				_, err := f.Store.Undrain(t.Context(), service.UndrainOrder{ControllerID: "mc", ExpectedGeneration: &old}, "operator")
				if !errors.Is(err, service.ErrConflict) {
					t.Errorf("%s: Undrain(generation %d of before it left) = %v, want ErrConflict", how, old, err)
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
