package fleetsim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"darktower.example/global-controller/internal/daemon"
)

// asGC in the environment has the program of the tests be a Global Controller.
const asGC = "SIMULATE_TEST_AS_GC"

func TestMain(m *testing.M) {
	if os.Getenv(asGC) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		code := daemon.Main(ctx, nil, os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testOptions(t *testing.T) (Options, *lockedBuffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := &lockedBuffer{}
	return Options{
		MCs: 40, Connections: 3, Regions: 2, Parallel: 1, Store: "sqlite", Seed: 1, Out: out, TableOut: out,
		GC: Command{Path: self, Env: []string{asGC + "=yes"}},
	}, out
}

// mustKeep plays a scenario and holds that what it promises is kept.
func mustKeep(t *testing.T, opts Options, out *lockedBuffer, name string) Verdict {
	t.Helper()
	scenarios, err := Find([]string{name}, opts.Existing == nil)
	if err != nil {
		t.Fatal(err)
	}
	verdicts, err := Run(t.Context(), opts, scenarios)
	if err != nil {
		t.Fatalf("Run() = %v", err)
	}
	for _, p := range verdicts[0].Promises {
		// How long something took says nothing beside the race detector and other tests; make simulate holds that.
		if timed := strings.HasPrefix(p.Promised, "≤"); !p.Kept && !timed {
			t.Errorf("%q: promised %s, observed %s\n%s", p.Promise, p.Promised, p.Observed, out)
		}
	}
	if verdicts[0].Error != "" {
		t.Errorf("the scenario did not come to its end: %s\n%s", verdicts[0].Error, out)
	}
	return verdicts[0]
}

// TestScenarios plays some of them with few controllers, so that the simulator is known to work; make simulate plays
// all of them, with many, and without the race detector.
func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rolling-restart", "duplicate-id", "gc-restart"} {
		for _, store := range []string{"sqlite", "postgres"} {
			t.Run(name+" over "+store, func(t *testing.T) {
				t.Parallel()
				opts, out := testOptions(t)
				opts.Store = store
				if store == "postgres" {
					opts.Database = os.Getenv("TEST_DATABASE_URL")
				}
				if v := mustKeep(t, opts, out, name); len(v.Promises) < 3 {
					t.Errorf("promises = %v, want several", v.Promises)
				}
			})
		}
	}
}

// TestABrokenPromiseIsSeen has controllers die of whom the scenario does not know.
func TestABrokenPromiseIsSeen(t *testing.T) {
	t.Parallel()
	opts, out := testOptions(t)
	s := Scenario{Name: "murder", Summary: "somebody dies unseen", Run: func(ctx context.Context, w *World) error {
		if _, err := w.Settle(ctx); err != nil {
			return err
		}
		victim := w.Fleet.MCs[0]
		if err := victim.Abandon(); err != nil {
			return err
		}
		if err := w.Wait(ctx, w.Timing.found()); err != nil {
			return err
		}
		victim.silences = nil
		return w.CheckFleet(ctx)
	}}
	verdicts, err := Run(t.Context(), opts, []Scenario{s})
	if err != nil {
		t.Fatalf("Run() = %v", err)
	}
	got := verdicts[0]
	if got.Kept || got.Promises[0].Kept || !strings.HasPrefix(got.Promises[0].Observed, "1 (sim-") {
		t.Errorf("verdict = %+v, want one false death\n%s", got, out)
	}
	if !strings.Contains(out.String(), "controller is stale") {
		t.Errorf("the Global Controller's log is not shown:\n%s", out)
	}
}

// TestAnEndInTheMiddleLeavesNothing holds with goleak, and by the folder, that an interrupt ends everything.
func TestAnEndInTheMiddleLeavesNothing(t *testing.T) {
	t.Parallel()
	opts, out := testOptions(t)
	opts.Duration = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	folder := make(chan string, 1)
	s := steady()
	play := s.Run
	s.Run = func(ctx context.Context, w *World) error {
		folder <- w.folder
		time.AfterFunc(time.Second, cancel)
		return play(ctx, w)
	}
	verdicts, err := Run(ctx, opts, []Scenario{s, herd()})
	if !errors.Is(err, ErrInterrupted) || !strings.Contains(err.Error(), "2 of 2") {
		t.Errorf("Run() = %v, want that both were interrupted", err)
	}
	for _, v := range verdicts {
		if !v.Interrupted || v.Kept || v.Error != "" || len(v.Promises) > 0 {
			t.Errorf("verdict = %+v, want interrupted, and nothing else", v)
		}
	}
	if err := Broken(verdicts); err != nil {
		t.Errorf("Broken() = %v, want nil: nobody broke anything", err)
	}
	if got := out.String(); strings.Contains(got, "BROKEN") || strings.Contains(got, "promised") || strings.Contains(got, "canceled") || !strings.Contains(got, "interrupted") {
		t.Errorf("printed:\n%s\nwant that they were interrupted, and no table", got)
	}
	if _, err := os.Stat(<-folder); !os.IsNotExist(err) {
		t.Errorf("the folder: %v, want none", err)
	}
}
