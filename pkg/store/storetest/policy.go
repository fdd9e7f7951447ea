package storetest

import (
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// lax are settings with other intervals than those of the suite's policy.
var laxReplica = service.Replica{
	ID:                    "gc-lax",
	Version:               "v2",
	StalenessThreshold:    2 * time.Minute,
	FastInterval:          40 * time.Second,
	ComprehensiveInterval: 2 * time.Minute,
	MaxConnections:        20,
}

// mustSweep sweeps once more, with a beat and without an outage, and returns what it marked and why.
func mustSweep(t *testing.T, f Fixture) map[string]string {
	t.Helper()
	f.SetCheckerAges(t, 0, hour, hour)
	marked := make(map[string]string)
	for _, change := range mustBeatAndSweep(t, f.Store, sweepPolicy).Transitions {
		marked[change.ControllerID] = change.Reason
	}
	return marked
}

func testSweepWithoutRecentBeat(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetLastHeartbeatAge(t, "mc", hour)
	for name, beat := range map[string]time.Duration{
		"old": sweepPolicy.Tolerance + time.Second, "of the future": -sweepPolicy.Tolerance - 5*time.Second,
	} {
		f.SetCheckerAges(t, beat, hour, hour)
		got, err := f.Store.Sweep(t.Context(), sweepPolicy)
		if err != nil || got.Swept || !got.Hold || len(got.Transitions) != 0 || got.NextIn <= 0 {
			t.Errorf("Sweep(the last beat is %s) = %+v, %v, want a hold and no mark", name, got, err)
		}
	}
}

// testExcused: a controller whose heartbeats a replica received and could not store is not silent.
func testFailedHeartbeats(t *testing.T, f Fixture) {
	for _, id := range []string{"failing", "silent"} {
		mustRegister(t, f.Store, id)
		f.SetLastHeartbeatAge(t, id, 40*time.Second)
	}

	beat := replicaBeat(testReplica)
	beat.Failed = []string{"failing", "unknown"}
	mustBeatAs(t, f.Store, beat)
	if got := mustSweep(t, f); len(got) != 1 || got["silent"] == "" {
		t.Errorf("marked = %v, want the silent one and not the one whose heartbeat failed", got)
	}

	for _, by := range []time.Duration{sweepPolicy.Threshold + time.Second, -hour} {
		f.SetFailedHeartbeatAge(t, "failing", by)
		if got := mustSweep(t, f); len(got) != 1 || got["failing"] == "" {
			t.Errorf("marked with a failure %v ago = %v, want the controller", by, got)
		}
		mustHeartbeat(t, f.Store, heartbeat("failing", service.HealthHealthy))
		f.SetLastHeartbeatAge(t, "failing", 40*time.Second)
	}
}

// testLaxestPolicy: while a replica with a longer threshold is in use, and for as long after it was, its threshold counts.
func testLaxestPolicy(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetLastHeartbeatAge(t, "mc", 40*time.Second)
	mustBeatAs(t, f.Store, replicaBeat(laxReplica))
	if got := mustSweep(t, f); len(got) != 0 {
		t.Errorf("marked while a replica allows 2m = %v, want none", got)
	}

	f.SetReplicaSeenAge(t, laxReplica.ID, laxReplica.StalenessThreshold-10*time.Second)
	if got := mustSweep(t, f); len(got) != 0 {
		t.Errorf("marked a while after that replica = %v, want none", got)
	}

	f.SetLastHeartbeatAge(t, "mc", laxReplica.StalenessThreshold+10*time.Second)
	if got := mustSweep(t, f); !strings.HasSuffix(got["mc"], "(threshold 2m0s)") {
		t.Errorf("marked = %v, want the controller, by the threshold of 2m", got)
	}

	mustHeartbeat(t, f.Store, heartbeat("mc", service.HealthHealthy))
	f.SetLastHeartbeatAge(t, "mc", 40*time.Second)
	f.SetReplicaSeenAge(t, laxReplica.ID, laxReplica.StalenessThreshold+10*time.Second)
	if got := mustSweep(t, f); !strings.HasSuffix(got["mc"], "(threshold 30s)") {
		t.Errorf("marked long after that replica = %v, want the controller, by the threshold of 30s", got)
	}
}

// testLaxestPolicyAfterRestart has a replica start again, under its id, with a shorter threshold: a controller that it
// acknowledged before may use the longer one.
func testLaxestPolicyAfterRestart(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	f.SetLastHeartbeatAge(t, "mc", 40*time.Second)
	before := replicaBeat(laxReplica)
	before.First = true
	mustBeatAs(t, f.Store, before)

	after := before
	after.Replica.StalenessThreshold = 30 * time.Second
	mustBeatAs(t, f.Store, after)
	if got := mustSweep(t, f); len(got) != 0 {
		t.Errorf("marked after the restart = %v, want none: the replica allowed 2m until then", got)
	}
	replicas, err := f.Store.Replicas(t.Context())
	if err != nil || len(replicas) != 2 || replicas[1].ID != laxReplica.ID || replicas[1].StalenessThreshold != 30*time.Second {
		t.Errorf("Replicas() = %+v, %v, want the one that sweeps and this one, with its settings of now", replicas, err)
	}
}

// testLaxestPolicyAfterOutage: an outage uses up none of the time for which a replica's threshold counts.
func testLaxestPolicyAfterOutage(t *testing.T, f Fixture) {
	mustRegister(t, f.Store, "mc")
	mustBeatAndSweep(t, f.Store, sweepPolicy)
	mustBeatAs(t, f.Store, replicaBeat(laxReplica))
	f.SetLastHeartbeatAge(t, "mc", 2*hour)
	f.SetReplicaSeenAge(t, laxReplica.ID, 2*hour)
	f.SetCheckerAges(t, 2*hour, 3*hour, 0)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Gap {
		t.Fatalf("tick after an outage = %+v, want a gap", got)
	}

	f.SetServiceableFor(t, 40*time.Second)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); !got.Hold || len(got.Transitions) != 0 {
		t.Errorf("tick 40 s after an outage = %+v, want a hold: the replica before it allowed 2m", got)
	}

	f.SetServiceableFor(t, laxReplica.StalenessThreshold+time.Second)
	if got := mustBeatAndSweep(t, f.Store, sweepPolicy); got.Hold || len(got.Transitions) != 1 {
		t.Errorf("tick 2m after an outage = %+v, want one change", got)
	}
}

// testToldPolicy: a controller that was told a longer interval than any replica in use has is judged by what it was told.
func testAcknowledgedPolicy(t *testing.T, f Fixture) {
	old := f.OpenReplicaWith(t, laxReplica.FastInterval, laxReplica.StalenessThreshold)
	mustRegister(t, old, "told")
	mustRegister(t, f.OpenReplicaWith(t, 10*time.Second, 2*time.Minute), "same")
	mustRegister(t, f.Store, "other")
	for _, id := range []string{"told", "other", "same"} {
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
		f.SetLastHeartbeatAge(t, id, 40*time.Second)
	}

	strict := sweepPolicy
	strict.FastInterval = 10 * time.Second
	f.SetCheckerAges(t, 0, hour, hour)
	if got := mustBeatAndSweep(t, f.Store, strict).Transitions; len(got) != 2 || got[0].ControllerID != "other" || got[1].ControllerID != "same" {
		t.Errorf("marked = %+v, want those that were told no longer interval", got)
	}

	f.SetCheckerAges(t, 0, time.Minute, hour)
	f.SetLastHeartbeatAge(t, "told", 3*time.Minute)
	if got := mustBeatAndSweep(t, f.Store, strict).Transitions; len(got) != 0 {
		t.Errorf("marked a minute after an outage = %+v, want none before its threshold has passed", got)
	}

	f.SetCheckerAges(t, 0, hour, hour)
	if got := mustBeatAndSweep(t, f.Store, strict).Transitions; len(got) != 1 || !strings.HasSuffix(got[0].Reason, "(threshold 2m0s)") {
		t.Errorf("marked after 3m = %+v, want the controller by the threshold that it was told", got)
	}

	mustRegister(t, f.OpenReplicaWith(t, strict.FastInterval, strict.Threshold), "told")
	f.SetLastHeartbeatAge(t, "told", 40*time.Second)
	f.SetCheckerAges(t, 0, hour, hour)
	if got := mustBeatAndSweep(t, f.Store, strict).Transitions; len(got) != 1 {
		t.Errorf("marked after it was told 10 s = %+v, want the controller", got)
	}
}

// testEvidence: what is shown of a silence is measured, and never a difference across an outage or a step of the clock.
func testSweepReason(t *testing.T, f Fixture) {
	for id, by := range map[string]time.Duration{
		"before": 2 * hour, "future": -2 * hour, "after": 45 * time.Second, "long": 59*time.Minute + 59*time.Second,
	} {
		mustRegister(t, f.Store, id)
		f.SetLastHeartbeatAge(t, id, by)
	}

	f.SetCheckerAges(t, 0, time.Hour, hour)
	since := " since heartbeats could be committed again (threshold 30s)"
	for _, change := range mustBeatAndSweep(t, f.Store, sweepPolicy).Transitions {
		want := map[string]string{
			"before": "no heartbeat for at least 1h0m0s" + since, "future": "no heartbeat for at least 1h0m0s" + since,
			"after": "no heartbeat for 45s (threshold 30s)", "long": "no heartbeat for 59m59s (threshold 30s)",
		}[change.ControllerID]
		// A second may have passed.
		if got := strings.NewReplacer("h0m1s", "h0m0s", "46s", "45s", "1h0m0s (", "59m59s (").Replace(change.Reason); got != want {
			t.Errorf("%s: reason = %q, want %q", change.ControllerID, change.Reason, want)
		}
		if change.Silence > time.Hour+time.Minute || change.Silence < 45*time.Second {
			t.Errorf("%s: silence = %v, want what was measured", change.ControllerID, change.Silence)
		}
	}

	if n := len(f.History(t)); n != 8 {
		t.Errorf("history = %d changes, want 8", n)
	}
}

// testStalenessWhileDraining: a controller that goes stale or comes back while its public state stays leaves a trace.
func testStalenessWhileDraining(t *testing.T, f Fixture) {
	for _, id := range []string{"beats", "registers"} {
		mustRegister(t, f.Store, id)
		mustHeartbeat(t, f.Store, heartbeat(id, service.HealthHealthy))
		f.SetDraining(t, id)
		f.SetLastHeartbeatAge(t, id, hour)
	}

	if got := mustSweep(t, f); len(got) != 2 {
		t.Fatalf("marked = %v, want both", got)
	}

	beaten := mustHeartbeat(t, f.Store, heartbeat("beats", service.HealthHealthy)).Transition
	registered := mustRegister(t, f.Store, "registers")
	for cause, got := range map[service.Cause]*service.Transition{service.CauseHeartbeat: beaten, service.CauseRegister: registered} {
		if got == nil || got.From != service.HealthDraining || got.To != service.HealthDraining || got.Cause != cause {
			t.Errorf("%s of a stale controller that drains = %+v, want a change from draining to draining", cause, got)
		}
	}

	recorded := len(f.History(t))
	if got := mustHeartbeat(t, f.Store, heartbeat("beats", service.HealthHealthy)).Transition; got != nil || len(f.History(t)) != recorded {
		t.Errorf("the next heartbeat = %+v, want no change", got)
	}
	if history := f.History(t); history[recorded-1].To != service.HealthDraining || history[recorded-1].From != service.HealthDraining {
		t.Errorf("the last change = %+v, want one from draining to draining", history[recorded-1])
	}
}
