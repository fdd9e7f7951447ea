package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

var sweepPolicy = service.SweepPolicy{
	Threshold: 30 * time.Second,
	Interval:  5 * time.Second,
	Tolerance: 4 * time.Second,
	Actor:     "gc-1",
}

func testHoldAtFirstBeat(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetLastHeartbeatAge(t, "mc", hour)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Gap || !got.Hold || !got.Swept || len(got.Transitions) != 0 {
		t.Errorf("first beat and sweep = %+v, want a gap and a hold", got)
	}
	got := mustBeatAndSweep(t, f.Store, sweepPolicy)
	if got.Gap || !got.Hold || got.Swept || got.NextIn <= 0 || got.NextIn > sweepPolicy.Interval {
		t.Errorf("second beat and sweep = %+v, want a hold, and the next sweep within an interval", got)
	}
}

func testSweepMarksStaleOnly(t *testing.T, f Fixture) {
	for _, id := range []string{"stale", "alive", "Stale", "drained", "draining", "future", "ahead"} {
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
	}

	mustHeartbeat(t, f.Store, heartbeat("draining", service.HealthDraining))
	f.SetDraining(t, "drained")
	recorded := len(f.History(t))

	for id, age := range map[string]time.Duration{
		"alive":    20 * time.Second,
		"ahead":    -20 * time.Second,
		"stale":    31 * time.Second,
		"Stale":    hour,
		"drained":  hour,
		"draining": hour,
		"future":   -hour,
	} {
		f.SetLastHeartbeatAge(t, id, age)
	}

	f.SetCheckerAges(t, 0, hour, hour)
	got := mustBeatAndSweep(t, f.Store, sweepPolicy)
	if got.Hold || got.Gap || !got.Swept || got.NextIn <= 0 {
		t.Errorf("sweep = %+v, want one without a hold", got)
	}

	unhealthy := service.Transition{
		Region:   "eu",
		From:     service.HealthHealthy,
		To:       service.HealthUnhealthy,
		Cause:    service.CauseStale,
		Actor:    "gc-1",
		Reported: service.HealthHealthy,
	}

	// The mark of a draining controller is recorded as well, although its public state stays the same.
	draining := unhealthy
	draining.From, draining.To = service.HealthDraining, service.HealthDraining
	want := []service.Transition{unhealthy, draining, draining, unhealthy, unhealthy}
	want[2].Reported = service.HealthDraining
	for i, id := range []string{"Stale", "drained", "draining", "future", "stale"} {
		want[i].ControllerID = id
	}

	ignoreReason := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Reason" }, cmp.Ignore())
	if diff := cmp.Diff(want, got.Transitions, varying, ignoreReason); diff != "" {
		t.Fatalf("transitions (-want +got):\n%s", diff)
	}

	last := got.Transitions[4]
	reason := "no heartbeat for " + last.Silence.Round(time.Second).String() + " (threshold 30s)"
	if last.Silence < 31*time.Second || last.Silence > 60*time.Second || last.Reason != reason {
		t.Errorf("silence = %v, reason = %q, want at least 31s and the reason %q", last.Silence, last.Reason, reason)
	}

	if n := len(f.History(t)) - recorded; n != 5 {
		t.Errorf("recorded = %d transitions, want 5", n)
	}

	for id, want := range map[string]struct {
		health  service.HealthStatus
		isStale bool
	}{
		"alive":    {service.HealthHealthy, false},
		"ahead":    {service.HealthHealthy, false},
		"stale":    {service.HealthUnhealthy, true},
		"future":   {service.HealthUnhealthy, true},
		"drained":  {service.HealthDraining, true},
		"draining": {service.HealthDraining, true},
	} {
		if c := mustGet(t, f.Store, id); c.Health != want.health || c.Facts.Stale != want.isStale {
			t.Errorf("%s = %s, stale %v, want %s, %v", id, c.Health, c.Facts.Stale, want.health, want.isStale)
		}
	}
}

func testSweepWithoutChanges(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "stale")
	mustRegister(t, f.Store, "alive")
	f.SetLastHeartbeatAge(t, "stale", hour)
	f.SetCheckerAges(t, 0, hour, hour)
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	before := []service.Controller{mustGet(t, f.Store, "stale"), mustGet(t, f.Store, "alive")}
	f.SetCheckerAges(t, 0, hour, hour)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Swept || got.Hold || len(got.Transitions) != 0 {
		t.Errorf("sweep = %+v, want one without a transition", got)
	}
	if diff := cmp.Diff(before, []service.Controller{mustGet(t, f.Store, "stale"), mustGet(t, f.Store, "alive")}); diff != "" {
		t.Errorf("the sweep wrote (-before +after):\n%s", diff)
	}
}

// testSweepManyControllers marks more controllers than one statement can.
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
	for _, transition := range mustBeatAndSweep(t, f.Store, sweepPolicy).Transitions {
		got = append(got, transition.ControllerID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}

func testHoldAfterGap(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	f.SetLastHeartbeatAge(t, "mc", hour)
	for name, beat := range map[string]time.Duration{
		"an outage":                 sweepPolicy.Tolerance + time.Second,
		"a clock that was set back": -sweepPolicy.Tolerance - 5*time.Second,
	} {
		f.SetCheckerAges(t, beat, hour, hour)
		if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Gap || !got.Hold || len(got.Transitions) != 0 {
			t.Errorf("sweep after %s = %+v, want a hold", name, got)
		}

		// One second of the threshold remains.
		f.SetCheckerAges(t, 0, sweepPolicy.Threshold-time.Second, hour)
		if got := mustBeatAndSweep(t, f.Store, sweepPolicy); got.Gap || !got.Hold || len(got.Transitions) != 0 {
			t.Errorf("sweep less than a threshold after %s = %+v, want a hold", name, got)
		}
	}

	f.SetCheckerAges(t, 0, sweepPolicy.Threshold, hour)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); got.Hold || len(got.Transitions) != 1 {
		t.Errorf("sweep after a threshold = %+v, want one transition", got)
	}
}

func testNoGapWithinTolerance(t *testing.T, f Fixture) {
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	for _, beat := range []time.Duration{sweepPolicy.Tolerance - 2*time.Second, -sweepPolicy.Tolerance + 2*time.Second} {
		f.SetCheckerAges(t, beat, hour, 0)
		if got := mustBeatAndSweep(t, f.Store, sweepPolicy); got.Gap || got.Hold {
			t.Errorf("sweep with a beat %v ago = %+v, want neither gap nor hold", beat, got)
		}
	}
}

func testSweepInterval(t *testing.T, f Fixture) {
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	for _, tc := range []struct {
		swept time.Duration
		want  bool
	}{
		{0, false},
		{sweepPolicy.Interval - 2*time.Second, false},
		{sweepPolicy.Interval - 200*time.Millisecond, true},
		{hour, true},
		{-hour, true},
	} {
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
		mu            sync.Mutex
		swept, marked int
		all           sync.WaitGroup
	)
	for range 6 {
		replica := f.OpenReplica(t)
		all.Go(func() {
			result, err := beatAndSweep(t.Context(), replica, sweepPolicy)
			if err != nil {
				t.Errorf("beat and sweep: %v", err)
			}
			if result.Gap || result.Hold || result.NextIn <= 0 {
				t.Errorf("beat and sweep = %+v, want neither gap nor hold, and a time to the next sweep", result)
			}
			mu.Lock()
			defer mu.Unlock()
			marked += len(result.Transitions)
			if result.Swept {
				swept++
			}
		})
	}

	all.Wait()
	if swept != 1 || marked != 1 {
		t.Errorf("%d sweeps marked %d controllers, want one of each", swept, marked)
	}
}

// testMarksOnlyStopped makes two replicas sweep in real time while controllers send heartbeats and one stops. Only that one is marked.
func testMarksOnlyStopped(t *testing.T, f Fixture) {
	quickPolicy := service.SweepPolicy{
		Threshold: 2 * time.Second,
		Interval:  500 * time.Millisecond,
		Tolerance: time.Second,
		Actor:     "gc",
	}

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
			_, err := replicas[i%len(replicas)].Heartbeat(t.Context(), heartbeat(id, service.HealthHealthy))
			if err != nil {
				t.Errorf("Heartbeat(%s) = %v", id, err)
			}
		})
	}

	marked := make(chan struct{}, 1)
	for _, replica := range replicas {
		every(100*time.Millisecond, func() {
			result, err := beatAndSweep(t.Context(), replica, quickPolicy)
			if err != nil {
				t.Errorf("beat and sweep: %v", err)
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
		t.Error("no controller was marked within 20s, want the one that stopped")
	}

	close(done)
	all.Wait()
	if len(seen) != 1 || seen[0].ControllerID != "stops" {
		t.Fatalf("marked = %+v, want only the controller that stopped", seen)
	}

	if after := seen[0].At.Sub(stopped); after < quickPolicy.Threshold {
		t.Errorf("marked after %v, want no earlier than %v", after, quickPolicy.Threshold)
	}
}
