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
	MaxConnections:        20,
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

func testReplicas(t *testing.T, f Fixture) {
	second := testReplica
	second.ID, second.Version, second.FastInterval, second.MaxConnections = "gc-0", "v2", 20*time.Second, 5
	first := replicaBeat(testReplica)
	first.First = true
	mustBeatAs(t, f.Store, first)
	mustBeatAs(t, f.Store, replicaBeat(second))
	before, err := f.Store.Replicas(t.Context())
	if err != nil || len(before) != 2 {
		t.Fatalf("Replicas() = %+v, %v, want two", before, err)
	}

	changed := testReplica
	changed.StalenessThreshold = time.Minute
	mustBeatAs(t, f.OpenReplica(t), replicaBeat(changed))
	after, err := f.Store.Replicas(t.Context())
	if err != nil || len(after) != 2 {
		t.Fatalf("Replicas() = %+v, %v, want two", after, err)
	}

	changed.StartedAt, changed.SeenAt = before[1].StartedAt, after[1].SeenAt
	second.StartedAt, second.SeenAt = before[0].StartedAt, before[0].SeenAt
	if after[0] != second || after[1] != changed || after[1].SeenAt.Before(before[1].SeenAt) || after[1].StartedAt.IsZero() {
		t.Errorf("Replicas() = %+v, want %+v and %+v", after, second, changed)
	}

	first.Replica = changed
	mustBeatAs(t, f.Store, first)
	again, err := f.Store.Replicas(t.Context())
	if err != nil || again[1].StartedAt != again[1].SeenAt {
		t.Errorf("Replicas() after a restart = %+v, %v, want StartedAt equal to SeenAt", again, err)
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
