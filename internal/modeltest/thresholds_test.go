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

// TestThresholds_UnnoticedOutage runs outages that are just too short to be noticed, with controllers in 100 phases of their interval. With
// allowed settings (a threshold of more than twice the interval and the tolerance), no controller is marked stale.
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
			stale := countWronglyStale(t, tc.fast, tc.threshold)

			if tc.isAllowed && stale > 0 {
				t.Errorf("%d of 100 controllers were marked stale, want none", stale)
			}
			if !tc.isAllowed && stale == 0 {
				t.Error("no controller was marked stale, want some: otherwise the test detects nothing")
			}
		})
	}
}

const (
	phases  = 100
	outages = 5
)

// countWronglyStale returns how many of 100 controllers are marked stale although they never miss a heartbeat.
func countWronglyStale(t *testing.T, fast, threshold time.Duration) int {
	t.Helper()
	url := "sqlite:" + filepath.Join(t.TempDir(), "gc.db")
	if err := store.Migrate(t.Context(), url, log.NewNopLogger()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}

	now := time.UnixMilli(epoch)
	clock := func() time.Time { return now }
	s, err := store.New(store.Config{URL: url, Timeout: storeTimeout, Clock: clock})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	defer func() { _ = s.Close() }()

	stale := map[string]bool{}
	checker := newThresholdChecker(t, s, fast, threshold, clock, stale)
	registerPhases(t, s)

	// An outage starts just after a beat, and ends just before the beat that would be too late. Each outage is in another phase of the
	// beats and of the sweeps.
	spacing := (threshold + sweepInterval + 4*time.Second).Milliseconds()
	length := health.Tolerance.Milliseconds()
	const stepMs, beatMs = 20, 500 // Two replicas beat alternately.

	for ms := int64(0); ms < (outages+1)*spacing; ms += stepMs {
		now = time.UnixMilli(epoch + ms)
		since := ms%spacing - 1000 - (ms/spacing)*beatMs
		isOut := ms > spacing && since > 0 && since < length

		if !isOut {
			sendDueHeartbeats(t, s, fast, ms, stepMs)
		}
		if !isOut && ms%beatMs == 0 {
			checker.Beat(t.Context())
			checker.Sweep(t.Context())
		}
	}
	return len(stale)
}

// newThresholdChecker returns a checker that adds the controllers that it marks stale to stale.
func newThresholdChecker(
	t *testing.T, s *store.Store, fast, threshold time.Duration, clock func() time.Time, stale map[string]bool,
) *health.Checker {
	t.Helper()
	return health.NewChecker(health.Config{
		Store:   s,
		Replica: service.Replica{ID: "gc", StalenessThreshold: threshold, FastInterval: fast},
		Policy: service.SweepPolicy{
			Threshold:    threshold,
			FastInterval: fast,
			Interval:     sweepInterval,
			Tolerance:    health.Tolerance,
			Actor:        "gc",
		},
		CanVouch:   func() bool { return true },
		Heartbeats: health.NewHeartbeatMonitor(fast, clock),

		ObserveBeatFailure: func(err error) { t.Errorf("Beat() = %v", err) },
		ObserveSweep: func(result service.SweepResult, err error) {
			if err != nil {
				t.Errorf("Sweep() = %v", err)
			}
			for _, transition := range result.Transitions {
				stale[transition.ControllerID] = true
			}
		},

		Logger: log.NewNopLogger(),
		Now:    clock,
	})
}

// registerPhases registers one controller for each phase.
func registerPhases(t *testing.T, s *store.Store) {
	t.Helper()
	for i := range phases {
		registration := service.Registration{
			ControllerID:    fmt.Sprint("mc-", i),
			Region:          "eu",
			GRPCEndpoint:    "http://mc",
			MaxMeetings:     1,
			MaxParticipants: 1,
		}
		if _, err := s.Register(t.Context(), registration, "client"); err != nil {
			t.Fatalf("Register() = %v", err)
		}
	}
}

// sendDueHeartbeats sends the heartbeats that became due in the last step. At the start all are due.
func sendDueHeartbeats(t *testing.T, s *store.Store, fast time.Duration, ms, stepMs int64) {
	t.Helper()
	for i := range int64(phases) {
		phase := i * fast.Milliseconds() / phases
		isDue := ms == 0 || (ms+phase)/fast.Milliseconds() != (ms-stepMs+phase)/fast.Milliseconds()
		if !isDue {
			continue
		}
		heartbeat := service.HeartbeatWrite{ControllerID: fmt.Sprint("mc-", i), Reported: service.HealthHealthy}
		if _, err := s.Heartbeat(t.Context(), heartbeat); err != nil {
			t.Fatalf("Heartbeat() = %v", err)
		}
	}
}
