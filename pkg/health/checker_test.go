package health

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

// fakeStore counts beats and sweeps, and schedules sweeps by the clock of its bubble.
type fakeStore struct {
	mu       sync.Mutex
	start    time.Time
	swept    time.Time
	passes   int
	beats    []service.Beat
	sweeps   []time.Duration
	chunks   int           // chunks of each sweep
	took     time.Duration // duration of a chunk
	beatErr  error
	sweepErr error
}

func (f *fakeStore) Beat(_ context.Context, b service.Beat) (service.BeatResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beats = append(f.beats, b)
	return service.BeatResult{}, f.beatErr
}

func (f *fakeStore) Sweep(_ context.Context, policy service.SweepPolicy) (service.SweepResult, error) {
	time.Sleep(f.took)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passes++

	if f.sweepErr != nil {
		return service.SweepResult{}, f.sweepErr
	}

	var result service.SweepResult
	if now := time.Now(); now.Sub(f.swept) >= policy.Interval {
		f.sweeps = append(f.sweeps, now.Sub(f.start))
		result.Swept, result.Transitions = true, []service.Transition{{ControllerID: "mc"}}
		if f.chunks--; f.chunks > 0 {
			result.More = true
			return result, nil
		}
		f.swept = now
	}

	result.NextIn = policy.Interval - time.Since(f.swept)
	return result, nil
}

func (f *fakeStore) beatCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.beats)
}

func newTestChecker(store *fakeStore, canVouch func() bool) *Checker {
	store.start = time.Now()
	return NewChecker(Config{
		Store:              store,
		Policy:             service.SweepPolicy{Interval: 4500 * time.Millisecond, Tolerance: Tolerance},
		CanVouch:           canVouch,
		Heartbeats:         NewHeartbeatMonitor(10*time.Second, nil),
		ObserveSweep:       func(service.SweepResult, error) {},
		ObserveBeatFailure: func(error) {},
		Logger:             log.NewNopLogger(),
	})
}

// observations counts what a checker reported.
type observations struct {
	mu                                sync.Mutex
	sweeps, failedSweeps, failedBeats int
}

func (o *observations) addSweep(_ service.SweepResult, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sweeps++
	if err != nil {
		o.failedSweeps++
	}
}

func (o *observations) addBeatFailure(error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failedBeats++
}

// runChecker runs a checker for a time, and returns what it reported.
func runChecker(t *testing.T, store *fakeStore, canVouch func() bool, length time.Duration) *observations {
	t.Helper()
	var observed observations
	checker := newTestChecker(store, canVouch)
	checker.cfg.ObserveSweep = observed.addSweep
	checker.cfg.ObserveBeatFailure = observed.addBeatFailure

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- checker.Run(ctx) }()

	time.Sleep(length)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	return &observed
}

func alwaysVouches() bool { return true }

func TestChecker_SweepScheduleBetweenBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		runChecker(t, store, alwaysVouches, 10*time.Second)

		want := []time.Duration{0, 4500 * time.Millisecond, 9 * time.Second}
		if len(store.sweeps) != len(want) {
			t.Fatalf("sweeps at %v, want %v", store.sweeps, want)
		}
		for i := range want {
			if late := store.sweeps[i] - want[i]; late < 0 || late > 10*time.Millisecond {
				t.Errorf("sweep %d at %v, want %v", i, store.sweeps[i], want[i])
			}
		}
	})
}

func TestChecker_LongSweepDelaysNoBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{chunks: 6, took: 2 * time.Second}
		runChecker(t, store, alwaysVouches, 12500*time.Millisecond)
		if store.beatCount() != 13 || len(store.sweeps) < 6 {
			t.Errorf("beats = %d, chunks = %d in 12.5 s, want a beat each second and all 6 chunks", store.beatCount(), len(store.sweeps))
		}
	})
}

func TestChecker_SweepChunksWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{chunks: 40}
		runChecker(t, store, alwaysVouches, 100*time.Millisecond)
		if len(store.sweeps) != 40 {
			t.Errorf("chunks in 100 ms = %d, want 40", len(store.sweeps))
		}
	})
}

func TestChecker_NotVouchingBeatsButDoesNotSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		observed := runChecker(t, store, func() bool { return false }, 10500*time.Millisecond)
		if observed.sweeps != 0 || store.passes != 0 {
			t.Errorf("sweeps = %d, want none", store.passes)
		}
		if len(store.beats) != 11 || store.beats[5].Vouches || !store.beats[0].First || store.beats[1].First {
			t.Errorf("beats = %+v, want one each second, none of which vouches", store.beats)
		}
	})
}

func TestChecker_FailedBeatIsReportedAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := runChecker(t, &fakeStore{beatErr: errors.New("down")}, alwaysVouches, 5500*time.Millisecond)
		if observed.failedBeats < 6 || observed.sweeps != 0 {
			t.Errorf("failed beats reported = %d, sweeps = %d, want at least 6 failed beats and no sweep", observed.failedBeats, observed.sweeps)
		}
	})
}

func TestChecker_FailedSweepIsReportedAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observed := runChecker(t, &fakeStore{sweepErr: errors.New("down")}, alwaysVouches, 5500*time.Millisecond)
		if observed.sweeps < 6 || observed.failedSweeps != observed.sweeps || observed.failedBeats != 0 {
			t.Errorf("sweeps reported = %d, of which failed %d, failed beats = %d, want at least 6 sweeps, all failed, and no failed beat",
				observed.sweeps, observed.failedSweeps, observed.failedBeats)
		}
	})
}

func TestChecker_LogLinesOfMassStaleness(t *testing.T) {
	var lines strings.Builder
	store := &fakeStore{}
	checker := newTestChecker(store, alwaysVouches)
	checker.cfg.Logger = log.NewLogfmtLogger(&lines)

	checker.logResult(service.SweepResult{Transitions: make([]service.Transition, maxStaleLines+7)}, nil)

	got := strings.Count(lines.String(), "controller is stale")
	if got != maxStaleLines || !strings.Contains(lines.String(), `msg="more controllers are stale" count=7`) {
		t.Errorf("lines = %d and %q, want %d and the count of the rest", got, lines.String()[max(0, lines.Len()-80):], maxStaleLines)
	}
}

func TestChecker_HoldIsLoggedWhenItChanges(t *testing.T) {
	var lines strings.Builder
	checker := newTestChecker(&fakeStore{}, alwaysVouches)
	checker.cfg.Logger = log.NewLogfmtLogger(&lines)

	for _, hold := range []bool{false, true, true, false} {
		checker.logResult(service.SweepResult{Hold: hold}, nil)
	}

	want := "level=info msg=\"staleness marking is suspended\" hold=true\nlevel=info msg=\"staleness marking resumed\" hold=false\n"
	if lines.String() != want {
		t.Errorf("log = %q, want %q", lines.String(), want)
	}
}

func TestChecker_StoreState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{beatErr: &service.ConditionError{Name: "disk_full", Err: errors.New("secret")}}
		checker := newTestChecker(store, alwaysVouches)
		want := func(when, want string) {
			t.Helper()
			if got := checker.StoreState(); got != want {
				t.Errorf("StoreState() %s = %q, want %q", when, got, want)
			}
		}

		want("before the first beat", "starting")
		checker.Beat(t.Context())
		want("with a full disk", "disk_full")

		store.beatErr = nil
		checker.Beat(t.Context())
		want("after a beat", StateOK)

		store.beatErr = service.ErrUnavailable
		checker.Beat(t.Context())
		want("after one failure", StateOK)

		time.Sleep(Tolerance + 1)
		want("after the tolerance", "down")
	})
}

func TestChecker_FailedHeartbeatsAreRecordedByTheNextCommittedBeat(t *testing.T) {
	store := &fakeStore{beatErr: errors.New("down")}
	checker := newTestChecker(store, alwaysVouches)
	checker.cfg.Heartbeats.ObserveFailure("mc")

	checker.Beat(t.Context())
	store.beatErr = nil
	checker.Beat(t.Context())
	checker.Beat(t.Context())

	var got []int
	for _, b := range store.beats {
		got = append(got, len(b.Failed))
	}
	if len(got) != 3 || got[0] != 1 || got[1] != 1 || got[2] != 0 {
		t.Errorf("failed heartbeats in the beats = %v, want 1, 1, 0", got)
	}
}
