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

// runAsGC in the environment makes the test binary run a Global Controller instead of tests.
const runAsGC = "SIMULATE_TEST_AS_GC"

func TestMain(m *testing.M) {
	if os.Getenv(runAsGC) != "" {
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
	testBinary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	out := &lockedBuffer{}
	return Options{
		Controllers:      40,
		Connections:      3,
		Regions:          2,
		Parallel:         1,
		Store:            "sqlite",
		Seed:             1,
		Out:              out,
		TableOut:         out,
		GlobalController: Command{Path: testBinary, Env: []string{runAsGC + "=yes"}},
	}, out
}

// mustPass runs a scenario and fails the test if one of its checks fails.
func mustPass(t *testing.T, opts Options, out *lockedBuffer, name string) Verdict {
	t.Helper()
	scenarios, err := FindScenarios([]string{name}, opts.Existing == nil)
	if err != nil {
		t.Fatal(err)
	}
	verdicts, err := Run(t.Context(), opts, scenarios)
	if err != nil {
		t.Fatalf("Run() = %v", err)
	}

	for _, check := range verdicts[0].Checks {
		// Times are not meaningful beside the race detector and other tests. make simulate checks them.
		if isTimed := strings.HasPrefix(check.Expected, "≤"); !check.Passed && !isTimed {
			t.Errorf("%q: expected %s, observed %s\n%s", check.Name, check.Expected, check.Observed, out)
		}
	}
	if verdicts[0].Error != "" {
		t.Errorf("the scenario could not be completed: %s\n%s", verdicts[0].Error, out)
	}
	return verdicts[0]
}

// TestScenarios_PassOnBothStores runs some scenarios with few controllers, which tests the simulator. make simulate runs all of them, with
// many controllers and without the race detector.
func TestScenarios_PassOnBothStores(t *testing.T) {
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
				if v := mustPass(t, opts, out, name); len(v.Checks) < 3 {
					t.Errorf("checks = %v, want several", v.Checks)
				}
			})
		}
	}
}

// TestRun_ReportsFailedCheck runs a scenario that hides a crash from its checks, so that one of them must fail.
func TestRun_ReportsFailedCheck(t *testing.T) {
	t.Parallel()
	opts, out := testOptions(t)
	s := Scenario{Name: "hidden-crash", Summary: "a controller crashes", Run: func(ctx context.Context, env *Environment) error {
		if _, err := env.StartFleet(ctx); err != nil {
			return err
		}

		crashed := env.Fleet.Controllers[0]
		if err := crashed.Crash(); err != nil {
			return err
		}
		if err := env.Wait(ctx, env.Timing.detectionLimit()); err != nil {
			return err
		}
		crashed.pauses = nil
		return env.CheckFleet(ctx)
	}}

	verdicts, err := Run(t.Context(), opts, []Scenario{s})
	if err != nil {
		t.Fatalf("Run() = %v", err)
	}
	got := verdicts[0]
	if got.Passed || got.Checks[0].Passed || !strings.HasPrefix(got.Checks[0].Observed, "1 (sim-") {
		t.Errorf("verdict = %+v, want one controller wrongly marked stale\n%s", got, out)
	}
	if !strings.Contains(out.String(), "controller is stale") {
		t.Errorf("the Global Controller's log is not shown:\n%s", out)
	}
}

// TestRun_InterruptCleansUp checks, with goleak and by the folder, that an interrupt stops and removes everything.
func TestRun_InterruptCleansUp(t *testing.T) {
	t.Parallel()
	opts, out := testOptions(t)
	opts.Duration = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	folder := make(chan string, 1)
	s := steady()
	run := s.Run
	s.Run = func(ctx context.Context, env *Environment) error {
		folder <- env.folder
		time.AfterFunc(time.Second, cancel)
		return run(ctx, env)
	}

	verdicts, err := Run(ctx, opts, []Scenario{s, herd()})
	if !errors.Is(err, ErrInterrupted) || !strings.Contains(err.Error(), "2 of 2") {
		t.Errorf("Run() = %v, want that both were interrupted", err)
	}
	for _, v := range verdicts {
		if !v.IsInterrupted || v.Passed || v.Error != "" || len(v.Checks) > 0 {
			t.Errorf("verdict = %+v, want interrupted, and nothing else", v)
		}
	}
	if err := VerdictsError(verdicts); err != nil {
		t.Errorf("VerdictsError() = %v, want nil: no check has failed", err)
	}

	got := out.String()
	for _, unwanted := range []string{"FAILED", "expected", "canceled"} {
		if strings.Contains(got, unwanted) {
			t.Errorf("the output has %q, want no table:\n%s", unwanted, got)
		}
	}
	if !strings.Contains(got, "interrupted") {
		t.Errorf("the output does not have %q:\n%s", "interrupted", got)
	}
	if _, err := os.Stat(<-folder); !os.IsNotExist(err) {
		t.Errorf("the folder: %v, want that it does not exist", err)
	}
}
