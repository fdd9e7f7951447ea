package modeltest

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/store"
	"darktower.example/global-controller/service"
)

// TestThresholds_UnnoticedOutage has outages that are just too short to be noticed meet controllers in 100 phases of their
// interval. With the settings that are allowed (more than twice the interval and the tolerance) none is called stale.
func TestThresholds_UnnoticedOutage(t *testing.T) {
	for _, tc := range []struct {
		fast, threshold time.Duration
		isAllowed       bool
	}{
		{time.Second, 3 * time.Second, false},
		{2 * time.Second, 5 * time.Second, false},
		{time.Second, 5 * time.Second, true},
		{2 * time.Second, 7 * time.Second, true},
		{10 * time.Second, 23 * time.Second, true},
	} {
		t.Run(fmt.Sprintf("%v every %v", tc.threshold, tc.fast), func(t *testing.T) {
			t.Parallel()
			stale := falseDeaths(t, tc.fast, tc.threshold)
			if tc.isAllowed && stale > 0 {
				t.Errorf("%d of 100 phases were called stale, want none", stale)
			}
			if !tc.isAllowed && stale == 0 {
				t.Error("no phase was called stale, want some: the test would find nothing")
			}
		})
	}
}

// falseDeaths returns how many of 100 controllers are called stale though they never miss a heartbeat.
func falseDeaths(t *testing.T, fast, threshold time.Duration) int {
	t.Helper()
	const (
		phases  = 100
		outages = 5
	)
	url := "sqlite:" + filepath.Join(t.TempDir(), "gc.db")
	if err := store.Migrate(t.Context(), url, log.NewNopLogger()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}
	now := time.UnixMilli(epoch)
	clock := func() time.Time { return now }
	s, err := store.New(store.Config{URL: url, Timeout: patience, Clock: clock})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	defer func() { _ = s.Close() }()

	stale := map[string]bool{}
	checker := health.NewChecker(health.Config{
		Store: s, Replica: service.Replica{ID: "gc", StalenessThreshold: threshold, FastInterval: fast},
		Policy:  service.SweepPolicy{Threshold: threshold, FastInterval: fast, Interval: interval, Tolerance: health.Tolerance, Actor: "gc"},
		Vouches: func() bool { return true }, Heartbeats: health.NewHeartbeats(fast, clock), Logger: log.NewNopLogger(), Now: clock,
		Observe: func(result service.SweepResult, err error) {
			if err != nil {
				t.Errorf("Sweep() = %v", err)
			}
			for _, change := range result.Transitions {
				stale[change.ControllerID] = true
			}
		},
	})
	for i := range phases {
		registration := service.Registration{ControllerID: fmt.Sprint("mc-", i), Region: "eu", GRPCEndpoint: "http://mc", MaxMeetings: 1, MaxParticipants: 1}
		if _, err := s.Register(t.Context(), registration, "client"); err != nil {
			t.Fatalf("Register() = %v", err)
		}
	}

	// An outage begins right after a beat and ends right before the beat that would be too late, in each of several phases of the
	// beats and of the sweeps.
	apart := (threshold + interval + 4*time.Second).Milliseconds()
	length := health.Tolerance.Milliseconds()
	const stepMs, beatMs = 20, 500 // Two replicas beat in turn.
	for ms := int64(0); ms < (outages+1)*apart; ms += stepMs {
		now = time.UnixMilli(epoch + ms)
		since := ms%apart - 1000 - (ms/apart)*beatMs
		isOut := ms > apart && since > 0 && since < length
		for i := range int64(phases) {
			if (ms+i*fast.Milliseconds()/phases)/fast.Milliseconds() == (ms-stepMs+i*fast.Milliseconds()/phases)/fast.Milliseconds() && ms > 0 || isOut {
				continue
			}
			if _, err := s.Heartbeat(t.Context(), service.HeartbeatWrite{ControllerID: fmt.Sprint("mc-", i), Reported: service.HealthHealthy}); err != nil {
				t.Fatalf("Heartbeat() = %v", err)
			}
		}
		if !isOut && ms%beatMs == 0 {
			checker.Beat(t.Context())
			checker.Sweep(t.Context())
		}
	}
	return len(stale)
}
