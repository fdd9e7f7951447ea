package storetest

import (
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// testSweepMentionsRefusals: a controller whose calls are refused is not silent, and the history says so.
func testSweepReasonRefusals(t *testing.T, f Fixture) {
	for _, id := range []string{"refused", "silent"} {
		mustRegister(t, f.Store, id)
		f.SetLastHeartbeatAge(t, id, 40*time.Second)
	}
	f.SetCheckerAges(t, 0, hour, hour)
	asked := sweepPolicy
	asked.Refusals = func(within time.Duration) map[string]string {
		if within != sweepPolicy.Threshold+sweepPolicy.Interval {
			t.Errorf("refusals are asked for within %v, want %v", within, sweepPolicy.Threshold+sweepPolicy.Interval)
		}
		return map[string]string{"refused": `4 calls were refused: it's "no key"`, "another": "x", "alive": "y"}
	}

	got := mustBeatAndSweep(t, f.Store, asked)
	if len(got.Transitions) != 2 {
		t.Fatalf("changes = %+v, want two", got.Transitions)
	}
	stored := f.History(t)
	for i, id := range []string{"refused", "silent"} {
		for _, reason := range []string{got.Transitions[i].Reason, stored[len(stored)-2+i].Reason} {
			mentions := strings.HasSuffix(reason, `; 4 calls were refused: it's "no key"`)
			if got.Transitions[i].ControllerID != id || mentions != (id == "refused") || !strings.HasPrefix(reason, "no heartbeat for 4") {
				t.Errorf("reason for %s = %q, want the refusals of the refused one only", id, reason)
			}
		}
	}
}

// testBeatShowsTheClock: a beat carries the storage's time.
func testBeatTime(t *testing.T, f Fixture) {
	before := mustRegister(t, f.Store, "mc")
	first, err := f.Store.Beat(t.Context(), service.Beat{Replica: service.Replica{ID: "gc-1"}, CanAcceptHeartbeats: true, Tolerance: sweepPolicy.Tolerance})
	if err != nil {
		t.Fatalf("Beat() = %v", err)
	}
	if before == nil || first.At.Before(before.At) || first.At.Sub(before.At) > time.Minute {
		t.Errorf("Beat() at %v, want just after the registration's %+v", first.At, before)
	}
	second, err := f.Store.Beat(t.Context(), service.Beat{Replica: service.Replica{ID: "gc-1"}, CanAcceptHeartbeats: false, Tolerance: sweepPolicy.Tolerance})
	if err != nil || second.At.Before(first.At) {
		t.Errorf("Beat() without vouching = %+v, %v, want a later time than %v", second, err, first.At)
	}
}
