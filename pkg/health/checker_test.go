package health

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

// fakeSweeper sweeps by the clock it runs in.
type fakeSweeper struct {
	start  time.Time
	swept  time.Time
	ticks  int
	sweeps []time.Duration
	err    error
}

func (f *fakeSweeper) Tick(_ context.Context, policy service.SweepPolicy) (service.SweepResult, error) {
	f.ticks++
	if f.err != nil {
		return service.SweepResult{}, f.err
	}
	var result service.SweepResult
	if now := time.Now(); now.Sub(f.swept) >= policy.Interval {
		f.swept = now
		f.sweeps = append(f.sweeps, now.Sub(f.start))
		result.Swept, result.Transitions = true, []service.Transition{{ControllerID: "mc"}}
	}
	result.NextIn = policy.Interval - time.Since(f.swept)
	return result, nil
}

func run(t *testing.T, store *fakeSweeper, serviceable func() bool, length time.Duration) (observed, failed int) {
	t.Helper()
	store.start = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Run(ctx, Config{
			Store: store, Policy: service.SweepPolicy{Interval: 4500 * time.Millisecond}, Serviceable: serviceable, Logger: log.NewNopLogger(),
			Observe: func(_ service.SweepResult, err error) {
				observed++
				if err != nil {
					failed++
				}
			},
		})
	}()
	time.Sleep(length)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	return observed, failed
}

func TestSweepsComeOnTimeBetweenBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeSweeper{}
		run(t, store, func() bool { return true }, 10*time.Second)
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

func TestNoTickWhileNothingCanBeServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeSweeper{}
		if observed, _ := run(t, store, func() bool { return false }, 10*time.Second); observed != 0 || store.ticks != 0 {
			t.Errorf("ticks = %d, want none", store.ticks)
		}
	})
}

func TestAFailedTickIsReportedAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeSweeper{err: errors.New("down")}
		observed, failed := run(t, store, func() bool { return true }, 5500*time.Millisecond)
		if observed < 6 || failed != observed {
			t.Errorf("ticks reported = %d of which failed %d, want at least 6, all", observed, failed)
		}
	})
}

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		if !p.Beating() {
			t.Error("Beating() with nothing sent = false, want true")
		}
		p.HeartbeatFailed()
		for range 2 {
			if p.Beating() {
				t.Error("Beating() after a failure = true, want false until a heartbeat is committed")
			}
		}
		time.Sleep(failureMemory + 1)
		if !p.Beating() {
			t.Error("Beating() long after a failure = false, want true: nobody may ever try again")
		}
		p.HeartbeatFailed()
		p.HeartbeatCommitted()
		for range 2 {
			if !p.Beating() {
				t.Error("Beating() with one committed = false, want true")
			}
		}
	})
}
