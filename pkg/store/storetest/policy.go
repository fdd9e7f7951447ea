package storetest

import (
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// longThresholdReplica has longer intervals and a longer threshold than sweepPolicy.
var longThresholdReplica = service.Replica{
	ID:                    "gc-long",
	Version:               "v2",
	StalenessThreshold:    2 * time.Minute,
	FastInterval:          40 * time.Second,
	ComprehensiveInterval: 2 * time.Minute,
}

// mustSweep beats and sweeps without an outage. It returns the reasons by the ids of the controllers that were marked stale.
func mustSweep(t *testing.T, f Fixture) map[string]string {
	t.Helper()
	f.SetCheckerAges(t, 0, hour, hour)
	marked := make(map[string]string)
	for _, transition := range mustBeatAndSweep(t, f.Store, sweepPolicy).Transitions {
		marked[transition.ControllerID] = transition.Reason
	}
	return marked
}

func testSweepWithoutRecentBeat(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetLastHeartbeatAge(t, "mc", hour)
	for name, beat := range map[string]time.Duration{
		"old": sweepPolicy.Tolerance + time.Second, "in the future": -sweepPolicy.Tolerance - 5*time.Second,
	} {
		f.SetCheckerAges(t, beat, hour, hour)
		got, err := f.Store.Sweep(t.Context(), sweepPolicy)
		if err != nil || got.Swept || !got.Hold || len(got.Transitions) != 0 || got.NextIn <= 0 {
			t.Errorf("Sweep(the last beat is %s) = %+v, %v, want a hold and no mark", name, got, err)
		}
	}
}

// testFailedHeartbeats: a controller is not stale if a replica received its heartbeats but could not store them.
func testFailedHeartbeats(t *testing.T, f Fixture) {
	for _, id := range []string{"failing", "stale"} {
		mustRegister(t, f.Store, id)
		f.SetLastHeartbeatAge(t, id, 40*time.Second)
	}

	beat := replicaBeat(testReplica)
	beat.Failed = []string{"failing", "unknown"}
	mustBeatAs(t, f.Store, beat)
	if got := mustSweep(t, f); len(got) != 1 || got["stale"] == "" {
		t.Errorf("marked = %v, want the stale controller, and not the one whose heartbeat failed", got)
	}

	for _, age := range []time.Duration{sweepPolicy.Threshold + time.Second, -hour} {
		f.SetFailedHeartbeatAge(t, "failing", age)
		if got := mustSweep(t, f); len(got) != 1 || got["failing"] == "" {
			t.Errorf("marked with a failure %v ago = %v, want the controller", age, got)
		}
		mustHeartbeat(t, f.Store, heartbeat("failing", service.HealthHealthy))
		f.SetLastHeartbeatAge(t, "failing", 40*time.Second)
	}
}

// testLongestThreshold: the threshold of a replica counts while the replica runs, and for the same time after its end.
func testLongestThreshold(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetLastHeartbeatAge(t, "mc", 40*time.Second)
	mustBeatAs(t, f.Store, replicaBeat(longThresholdReplica))
	if got := mustSweep(t, f); len(got) != 0 {
		t.Errorf("marked while a replica allows 2m = %v, want none", got)
	}

	f.SetReplicaSeenAge(t, longThresholdReplica.ID, longThresholdReplica.StalenessThreshold-10*time.Second)
	if got := mustSweep(t, f); len(got) != 0 {
		t.Errorf("marked shortly after the end of that replica = %v, want none", got)
	}

	f.SetLastHeartbeatAge(t, "mc", longThresholdReplica.StalenessThreshold+10*time.Second)
	if got := mustSweep(t, f); !strings.HasSuffix(got["mc"], "(threshold 2m0s)") {
		t.Errorf("marked = %v, want the controller, by the threshold of 2m", got)
	}

	mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy))
	f.SetLastHeartbeatAge(t, "mc", 40*time.Second)
	f.SetReplicaSeenAge(t, longThresholdReplica.ID, longThresholdReplica.StalenessThreshold+10*time.Second)
	if got := mustSweep(t, f); !strings.HasSuffix(got["mc"], "(threshold 30s)") {
		t.Errorf("marked long after the end of that replica = %v, want the controller, by the threshold of 30s", got)
	}
}

// testLongestThresholdAfterRestart restarts a replica with a shorter threshold under the same id. The longer threshold still counts,
// because controllers may have got it.
func testLongestThresholdAfterRestart(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetLastHeartbeatAge(t, "mc", 40*time.Second)
	before := replicaBeat(longThresholdReplica)
	before.First = true
	mustBeatAs(t, f.Store, before)

	after := before
	after.Replica.StalenessThreshold = 30 * time.Second
	mustBeatAs(t, f.Store, after)
	if got := mustSweep(t, f); len(got) != 0 {
		t.Errorf("marked after the restart = %v, want none: the replica allowed 2m until then", got)
	}

	replicas := mustReplicas(t, f.Store, 2)
	if replicas[1].ID != longThresholdReplica.ID || replicas[1].StalenessThreshold != 30*time.Second {
		t.Errorf("Replicas() = %+v, want the sweeping replica, and the restarted one with its new settings", replicas)
	}
}

// testLongestThresholdAfterOutage: the time for which a replica's threshold counts does not include an outage.
func testLongestThresholdAfterOutage(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	mustBeatAs(t, f.Store, replicaBeat(longThresholdReplica))
	f.SetLastHeartbeatAge(t, "mc", 2*hour)
	f.SetReplicaSeenAge(t, longThresholdReplica.ID, 2*hour)
	f.SetCheckerAges(t, 2*hour, 3*hour, 0)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Gap {
		t.Fatalf("beat after an outage = %+v, want a gap", got)
	}

	f.SetServiceableFor(t, 40*time.Second)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Hold || len(got.Transitions) != 0 {
		t.Errorf("sweep 40 s after an outage = %+v, want a hold: a replica before it allowed 2m", got)
	}

	f.SetServiceableFor(t, longThresholdReplica.StalenessThreshold+time.Second)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); got.Hold || len(got.Transitions) != 1 {
		t.Errorf("sweep 2m after an outage = %+v, want one transition", got)
	}
}

// testThresholdOfLastResponse: the interval that a controller got in its last response counts, even if no running replica has it any more.
func testThresholdOfLastResponse(t *testing.T, f Fixture) {
	oldReplica := f.OpenReplicaWith(t, longThresholdReplica.FastInterval, longThresholdReplica.StalenessThreshold)
	mustRegister(t, oldReplica, "long-interval")
	mustRegister(t, f.OpenReplicaWith(t, 10*time.Second, 2*time.Minute), "same-interval")
	mustRegister(t, f.Store, "other")
	for _, id := range []string{"long-interval", "other", "same-interval"} {
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
		f.SetLastHeartbeatAge(t, id, 40*time.Second)
	}

	strict := sweepPolicy
	strict.FastInterval = 10 * time.Second
	f.SetCheckerAges(t, 0, hour, hour)
	got := mustBeatAndSweep(t, f.Store, strict).Transitions
	if len(got) != 2 || got[0].ControllerID != "other" || got[1].ControllerID != "same-interval" {
		t.Errorf("marked = %+v, want those that got no longer interval", got)
	}

	f.SetCheckerAges(t, 0, time.Minute, hour)
	f.SetLastHeartbeatAge(t, "long-interval", 3*time.Minute)
	if got := mustBeatAndSweep(t, f.Store, strict).Transitions; len(got) != 0 {
		t.Errorf("marked a minute after an outage = %+v, want none before its threshold has passed", got)
	}

	f.SetCheckerAges(t, 0, hour, hour)
	if got := mustBeatAndSweep(t, f.Store, strict).Transitions; len(got) != 1 || !strings.HasSuffix(got[0].Reason, "(threshold 2m0s)") {
		t.Errorf("marked after 3m = %+v, want the controller by the threshold that it got", got)
	}

	mustRegister(t, f.OpenReplicaWith(t, strict.FastInterval, strict.Threshold), "long-interval")
	f.SetLastHeartbeatAge(t, "long-interval", 40*time.Second)
	f.SetCheckerAges(t, 0, hour, hour)
	if got := mustBeatAndSweep(t, f.Store, strict).Transitions; len(got) != 1 {
		t.Errorf("marked after it got 10 s = %+v, want the controller", got)
	}
}

// testSweepReason: the silence in a transition is a measured time. It never includes an outage or a step of the clock.
func testSweepReason(t *testing.T, f Fixture) {
	for id, age := range map[string]time.Duration{
		"before": 2 * hour,
		"future": -2 * hour,
		"after":  45 * time.Second,
		"long":   59*time.Minute + 59*time.Second,
	} {
		mustRegister(t, f.Store, id)
		f.SetLastHeartbeatAge(t, id, age)
	}

	f.SetCheckerAges(t, 0, time.Hour, hour)
	since := " since heartbeats could be committed again (threshold 30s)"
	for _, transition := range mustBeatAndSweep(t, f.Store, sweepPolicy).Transitions {
		want := map[string]string{
			"before": "no heartbeat for at least 1h0m0s" + since,
			"future": "no heartbeat for at least 1h0m0s" + since,
			"after":  "no heartbeat for 45s (threshold 30s)",
			"long":   "no heartbeat for 59m59s (threshold 30s)",
		}[transition.ControllerID]
		// A second may have passed.
		if got := strings.NewReplacer("h0m1s", "h0m0s", "46s", "45s", "1h0m0s (", "59m59s (").Replace(transition.Reason); got != want {
			t.Errorf("%s: reason = %q, want %q", transition.ControllerID, transition.Reason, want)
		}
		if transition.Silence > time.Hour+time.Minute || transition.Silence < 45*time.Second {
			t.Errorf("%s: silence = %v, want the measured time", transition.ControllerID, transition.Silence)
		}
	}

	if n := len(f.History(t)); n != 8 {
		t.Errorf("history = %d transitions, want 8", n)
	}
}

// testStalenessWhileDraining: the history records that a draining controller becomes stale or sends heartbeats again, although its
// public state stays the same.
func testStalenessWhileDraining(t *testing.T, f Fixture) {
	for _, id := range []string{"sends", "registers"} {
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
		f.SetDraining(t, id)
		f.SetLastHeartbeatAge(t, id, hour)
	}

	if got := mustSweep(t, f); len(got) != 2 {
		t.Fatalf("marked = %v, want both", got)
	}

	heartbeatTransition := mustHeartbeat(t, f.Store, heartbeat("sends", service.HealthHealthy)).Transition
	registerTransition := mustRegister(t, f.Store, "registers")
	for cause, got := range map[service.Cause]*service.Transition{
		service.CauseHeartbeat: heartbeatTransition,
		service.CauseRegister:  registerTransition,
	} {
		if got == nil || got.From != service.HealthDraining || got.To != service.HealthDraining || got.Cause != cause {
			t.Errorf("%s of a stale draining controller = %+v, want a transition from draining to draining", cause, got)
		}
	}

	recorded := len(f.History(t))
	got := mustHeartbeat(t, f.Store, heartbeat("sends", service.HealthHealthy)).Transition
	if got != nil || len(f.History(t)) != recorded {
		t.Errorf("the next heartbeat = %+v, want no transition", got)
	}
	if last := f.History(t)[recorded-1]; last.To != service.HealthDraining || last.From != service.HealthDraining {
		t.Errorf("the last transition = %+v, want one from draining to draining", last)
	}
}

// testSweepReasonRefusals: the reason of a transition mentions refused calls of the controller.
func testSweepReasonRefusals(t *testing.T, f Fixture) {
	for _, id := range []string{"refused", "stale"} {
		mustRegister(t, f.Store, id)
		f.SetLastHeartbeatAge(t, id, 40*time.Second)
	}
	f.SetCheckerAges(t, 0, hour, hour)

	withRefusals := sweepPolicy
	withRefusals.Refusals = func(within time.Duration) map[string]string {
		if within != sweepPolicy.Threshold+sweepPolicy.Interval {
			t.Errorf("refusals are requested within %v, want %v", within, sweepPolicy.Threshold+sweepPolicy.Interval)
		}
		return map[string]string{"refused": `4 calls were refused: it's "no key"`, "another": "x", "alive": "y"}
	}

	got := mustBeatAndSweep(t, f.Store, withRefusals)
	if len(got.Transitions) != 2 {
		t.Fatalf("transitions = %+v, want two", got.Transitions)
	}
	stored := f.History(t)
	for i, id := range []string{"refused", "stale"} {
		for _, reason := range []string{got.Transitions[i].Reason, stored[len(stored)-2+i].Reason} {
			mentions := strings.HasSuffix(reason, `; 4 calls were refused: it's "no key"`)
			hasSilence := strings.HasPrefix(reason, "no heartbeat for 4")
			if got.Transitions[i].ControllerID != id || mentions != (id == "refused") || !hasSilence {
				t.Errorf("reason for %s = %q, want refusals for the refused controller only", id, reason)
			}
		}
	}
}
