package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

var sweepPolicy = service.SweepPolicy{Threshold: 30 * time.Second, Interval: 5 * time.Second, Tolerance: 4 * time.Second, Actor: "gc-1"}

func testHoldAtFirstBeat(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetLastHeartbeatAge(t, "mc", hour)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Gap || !got.Hold || !got.Swept || len(got.Transitions) != 0 {
		t.Errorf("first tick = %+v, want a gap and a hold", got)
	}
	got := mustBeatAndSweep(t, f.Store, sweepPolicy)
	if got.Gap || !got.Hold || got.Swept || got.NextIn <= 0 || got.NextIn > sweepPolicy.Interval {
		t.Errorf("second tick = %+v, want a hold, and the next sweep within an interval", got)
	}
}

func testSweepMarksStaleOnly(t *testing.T, f Fixture) {
	for _, id := range []string{"silent", "alive", "Silent", "drained", "draining", "future", "ahead"} {
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}
	mustHeartbeat(t, f.Store, heartbeat("draining", service.HealthDraining))
	f.SetDraining(t, "drained")
	recorded := len(f.History(t))
	for id, by := range map[string]time.Duration{
		"alive": 20 * time.Second, "silent": 31 * time.Second, "Silent": hour, "drained": hour, "draining": hour, "future": -hour, "ahead": -20 * time.Second,
	} {
		f.SetLastHeartbeatAge(t, id, by)
	}
	f.SetCheckerAges(t, 0, hour, hour)
	got := mustBeatAndSweep(t, f.Store, sweepPolicy)
	if got.Hold || got.Gap || !got.Swept || got.NextIn <= 0 {
		t.Errorf("tick = %+v, want a sweep", got)
	}
	change := service.Transition{Region: "eu", From: service.HealthHealthy, To: service.HealthUnhealthy, Cause: service.CauseStale, Actor: "gc-1", Reported: service.HealthHealthy}
	// A death while draining is recorded as well, though the public state stays.
	draining := change
	draining.From, draining.To = service.HealthDraining, service.HealthDraining
	want := []service.Transition{change, draining, draining, change, change}
	want[2].Reported = service.HealthDraining
	for i, id := range []string{"Silent", "drained", "draining", "future", "silent"} {
		want[i].ControllerID = id
	}
	ignoreReason := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Reason" }, cmp.Ignore())
	if diff := cmp.Diff(want, got.Transitions, varying, ignoreReason); diff != "" {
		t.Fatalf("changes (-want +got):\n%s", diff)
	}
	last := got.Transitions[4]
	reason := "no heartbeat for " + last.Silence.Round(time.Second).String() + " (threshold 30s)"
	if last.Silence < 31*time.Second || last.Silence > 60*time.Second || last.Reason != reason {
		t.Errorf("silence = %v, reason = %q, want at least 31s and the reason to say so", last.Silence, last.Reason)
	}
	if n := len(f.History(t)) - recorded; n != 5 {
		t.Errorf("recorded = %d changes, want 5", n)
	}
	for id, want := range map[string]service.Controller{
		"alive": {Health: service.HealthHealthy}, "ahead": {Health: service.HealthHealthy},
		"silent": {Health: service.HealthUnhealthy, Facts: service.Facts{Stale: true}}, "future": {Health: service.HealthUnhealthy, Facts: service.Facts{Stale: true}},
		"drained": {Health: service.HealthDraining, Facts: service.Facts{Stale: true}}, "draining": {Health: service.HealthDraining, Facts: service.Facts{Stale: true}},
	} {
		if c := mustGet(t, f.Store, id); c.Health != want.Health || c.Facts.Stale != want.Facts.Stale {
			t.Errorf("%s = %s, stale %v, want %s, %v", id, c.Health, c.Facts.Stale, want.Health, want.Facts.Stale)
		}
	}
}

func testSweepWithoutChanges(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "silent")
	mustRegister(t, f.Store, "alive")
	f.SetLastHeartbeatAge(t, "silent", hour)
	f.SetCheckerAges(t, 0, hour, hour)
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	before := []service.Controller{mustGet(t, f.Store, "silent"), mustGet(t, f.Store, "alive")}
	f.SetCheckerAges(t, 0, hour, hour)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Swept || got.Hold || len(got.Transitions) != 0 {
		t.Errorf("tick = %+v, want a sweep without a change", got)
	}
	if diff := cmp.Diff(before, []service.Controller{mustGet(t, f.Store, "silent"), mustGet(t, f.Store, "alive")}); diff != "" {
		t.Errorf("the sweep wrote (-before +after):\n%s", diff)
	}
}

// testManifoldSilence marks more controllers than fit into one statement.
func testSweepManyControllers(t *testing.T, f Fixture) {
	var want []string
	for i := range 520 {
		id := fmt.Sprintf("mc-%04d", i)
		mustRegister(t, f.Store, id)
		want = append(want, id)
	}
	f.SetLastHeartbeatAge(t, "", hour)
	f.SetCheckerAges(t, 0, hour, hour)
	got := []string{}
	for _, change := range mustBeatAndSweep(t, f.Store, sweepPolicy).Transitions {
		got = append(got, change.ControllerID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}

func testHoldAfterGap(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	f.SetLastHeartbeatAge(t, "mc", hour)
	for name, beat := range map[string]time.Duration{"outage": sweepPolicy.Tolerance + time.Second, "a clock that was set back": -sweepPolicy.Tolerance - 5*time.Second} {
		f.SetCheckerAges(t, beat, hour, hour)
		if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Gap || !got.Hold || len(got.Transitions) != 0 {
			t.Errorf("tick after %s = %+v, want a hold", name, got)
		}
		// All but a second of the threshold is over, and then all of it.
		f.SetCheckerAges(t, 0, sweepPolicy.Threshold-time.Second, hour)
		if got := mustBeatAndSweep(t, f.Store, sweepPolicy); got.Gap || !got.Hold || len(got.Transitions) != 0 {
			t.Errorf("tick before a threshold has passed since %s = %+v, want a hold", name, got)
		}
	}
	f.SetCheckerAges(t, 0, sweepPolicy.Threshold, hour)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); got.Hold || len(got.Transitions) != 1 {
		t.Errorf("tick after a threshold = %+v, want one change", got)
	}
}

func testNoGapWithinTolerance(t *testing.T, f Fixture) {
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	for _, beat := range []time.Duration{sweepPolicy.Tolerance - 2*time.Second, -sweepPolicy.Tolerance + 2*time.Second} {
		f.SetCheckerAges(t, beat, hour, 0)
		if got := mustBeatAndSweep(t, f.Store, sweepPolicy); got.Gap || got.Hold {
			t.Errorf("tick with a beat %v ago = %+v, want neither gap nor hold", beat, got)
		}
	}
}

func testSweepInterval(t *testing.T, f Fixture) {
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	for _, tc := range []struct {
		swept time.Duration
		want  bool
	}{{0, false}, {sweepPolicy.Interval - 2*time.Second, false}, {sweepPolicy.Interval - 200*time.Millisecond, true}, {hour, true}, {-hour, true}} {
		f.SetCheckerAges(t, 0, hour, tc.swept)
		got := mustBeatAndSweep(t, f.Store, sweepPolicy)
		if got.Swept != tc.want {
			t.Errorf("swept %v ago: swept now = %v, want %v", tc.swept, got.Swept, tc.want)
		}
		if limit := sweepPolicy.Interval - tc.swept; !tc.want && (got.NextIn <= 0 || got.NextIn > limit) {
			t.Errorf("swept %v ago: next in %v, want at most %v", tc.swept, got.NextIn, limit)
		}
	}
}

func testOneSweepAcrossReplicas(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	f.SetLastHeartbeatAge(t, "mc", hour)
	f.SetCheckerAges(t, 0, hour, hour)
	var (
		mu             sync.Mutex
		swept, changed int
		all            sync.WaitGroup
	)
	for range 6 {
		replica := f.OpenReplica(t)
		all.Go(func() {
			result, err := beatAndSweep(t.Context(), replica, sweepPolicy)
			if err != nil {
				t.Errorf("tick() = %v", err)
			}
			if result.Gap || result.Hold || result.NextIn <= 0 {
				t.Errorf("tick() = %+v, want neither gap nor hold, and when the next is due", result)
			}
			mu.Lock()
			defer mu.Unlock()
			changed += len(result.Transitions)
			if result.Swept {
				swept++
			}
		})
	}
	all.Wait()
	if swept != 1 || changed != 1 {
		t.Errorf("sweeps, changes = %d, %d, want one of each", swept, changed)
	}
}

// testSafetyAndLiveness lets two replicas sweep for real time while controllers beat and one stops.
func testSafetyAndLiveness(t *testing.T, f Fixture) {
	quick := service.SweepPolicy{Threshold: 2 * time.Second, Interval: 500 * time.Millisecond, Tolerance: time.Second, Actor: "gc"}
	replicas := []Store{f.Store, f.OpenReplica(t)}
	alive := []string{"a", "b", "c", "d"}
	for _, id := range append(alive, "stops") {
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}
	stopped := mustHeartbeat(t, f.Store, heartbeat("stops", service.HealthHealthy)).At
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		seen []service.Transition
	)
	done := make(chan struct{})
	every := func(period time.Duration, do func()) {
		all.Go(func() {
			ticker := time.NewTicker(period)
			defer ticker.Stop()
			for {
				do()
				select {
				case <-done:
					return
				case <-ticker.C:
				}
			}
		})
	}
	for i, id := range alive {
		every(200*time.Millisecond, func() {
			if _, err := replicas[i%len(replicas)].Heartbeat(t.Context(), heartbeat(id, service.HealthHealthy)); err != nil {
				t.Errorf("Heartbeat(%s) = %v", id, err)
			}
		})
	}
	marked := make(chan struct{}, 1)
	for _, replica := range replicas {
		every(100*time.Millisecond, func() {
			result, err := beatAndSweep(t.Context(), replica, quick)
			if err != nil {
				t.Errorf("tick() = %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if seen = append(seen, result.Transitions...); len(seen) > 0 {
				select {
				case marked <- struct{}{}:
				default:
				}
			}
		})
	}
	select {
	case <-marked:
	case <-time.After(20 * time.Second):
		t.Error("nobody was marked within 20s, want the controller that stopped")
	}
	close(done)
	all.Wait()
	if len(seen) != 1 || seen[0].ControllerID != "stops" {
		t.Fatalf("marked = %+v, want the controller that stopped and no other", seen)
	}
	if after := seen[0].At.Sub(stopped); after < quick.Threshold {
		t.Errorf("marked after %v, want no earlier than %v", after, quick.Threshold)
	}
}
