package storetest

import (
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

var testReplica = service.Replica{
	ID:                    "gc-1",
	Version:               "v1",
	StalenessThreshold:    30 * time.Second,
	FastInterval:          10 * time.Second,
	ComprehensiveInterval: 30 * time.Second,
}

func replicaBeat(r service.Replica) service.Beat {
	return service.Beat{Replica: r, Vouches: true, Tolerance: sweepPolicy.Tolerance}
}

func mustBeatAs(t *testing.T, s Store, b service.Beat) service.BeatResult {
	t.Helper()
	result, err := s.Beat(t.Context(), b)
	if err != nil {
		t.Fatalf("Beat(%s) = %v", b.Replica.ID, err)
	}
	return result
}

// testBeats: a gap is a time without a beat that vouches for the service.
func testBeats(t *testing.T, f Fixture) {
	first := replicaBeat(testReplica)
	first.First = true
	if got := mustBeatAs(t, f.Store, first); !got.Gap || got.Outage != 0 {
		t.Errorf("first Beat() = %+v, want a gap of unknown length", got)
	}
	if got := mustBeatAs(t, f.Store, replicaBeat(testReplica)); got.Gap {
		t.Errorf("second Beat() = %+v, want no gap", got)
	}

	f.SetCheckerAges(t, time.Minute, hour, 0)
	notVouching := replicaBeat(testReplica)
	notVouching.Vouches = false
	if got := mustBeatAs(t, f.Store, notVouching); got.Gap {
		t.Errorf("Beat(not vouching) = %+v, want no end of the gap", got)
	}
	if got := mustBeatAs(t, f.Store, replicaBeat(testReplica)); !got.Gap || got.Outage < time.Minute || got.Outage > 2*time.Minute {
		t.Errorf("Beat() after a minute = %+v, want a gap of one minute", got)
	}

	f.SetCheckerAges(t, -time.Minute, hour, 0)
	if got := mustBeatAs(t, f.Store, replicaBeat(testReplica)); !got.Gap || got.Outage != 0 {
		t.Errorf("Beat() after the clock was set back = %+v, want a gap of unknown length", got)
	}
}

// testReplicas: a replica's record has its present settings, and the times of its first and last beat.
func testReplicas(t *testing.T, f Fixture) {
	second := testReplica
	second.ID = "gc-0"
	second.Version = "v2"
	second.FastInterval = 20 * time.Second
	first := replicaBeat(testReplica)
	first.First = true
	mustBeatAs(t, f.Store, first)
	mustBeatAs(t, f.Store, replicaBeat(second))
	before := mustReplicas(t, f.Store, 2)

	changed := testReplica
	changed.StalenessThreshold = time.Minute
	mustBeatAs(t, f.OpenReplica(t), replicaBeat(changed))
	after := mustReplicas(t, f.Store, 2)

	wantSecond := replicaStatus(second, before[0].StartedAt, before[0].SeenAt)
	wantChanged := replicaStatus(changed, before[1].StartedAt, after[1].SeenAt)
	if after[0] != wantSecond || after[1] != wantChanged {
		t.Errorf("Replicas() = %+v, want %+v and %+v", after, wantSecond, wantChanged)
	}
	if after[1].StartedAt.IsZero() || after[1].SeenAt.Before(before[1].SeenAt) {
		t.Errorf("Replicas() = %+v, want a time of the start, and a later SeenAt than %v", after[1], before[1].SeenAt)
	}

	first.Replica = changed
	mustBeatAs(t, f.Store, first)
	restarted := mustReplicas(t, f.Store, 2)[1]
	if restarted.StartedAt != restarted.SeenAt {
		t.Errorf("Replicas() after a restart = %+v, want StartedAt equal to SeenAt", restarted)
	}
}

func mustReplicas(t *testing.T, s Store, want int) []service.ReplicaStatus {
	t.Helper()
	list, err := s.Replicas(t.Context())
	if err != nil || len(list.Replicas) != want {
		t.Fatalf("Replicas() = %+v, %v, want %d", list.Replicas, err, want)
	}
	return list.Replicas
}

// replicaStatus returns the record of a replica that has not shared connections yet.
func replicaStatus(r service.Replica, startedAt, seenAt time.Time) service.ReplicaStatus {
	return service.ReplicaStatus{
		ID:                    r.ID,
		Version:               r.Version,
		StalenessThreshold:    r.StalenessThreshold,
		FastInterval:          r.FastInterval,
		ComprehensiveInterval: r.ComprehensiveInterval,
		StartedAt:             startedAt,
		SeenAt:                seenAt,
	}
}

// testBeatTime: the result of a beat has the storage's time.
func testBeatTime(t *testing.T, f Fixture) {
	before := mustRegister(t, f.Store, "mc")
	beat := service.Beat{Replica: service.Replica{ID: "gc-1"}, Vouches: true, Tolerance: sweepPolicy.Tolerance}
	first, err := f.Store.Beat(t.Context(), beat)
	if err != nil {
		t.Fatalf("Beat() = %v", err)
	}
	if before == nil || first.At.Before(before.At) || first.At.Sub(before.At) > time.Minute {
		t.Errorf("Beat() at %v, want just after the registration's %+v", first.At, before)
	}

	beat.Vouches = false
	second, err := f.Store.Beat(t.Context(), beat)
	if err != nil || second.At.Before(first.At) {
		t.Errorf("Beat() without vouching = %+v, %v, want a later time than %v", second, err, first.At)
	}
}
