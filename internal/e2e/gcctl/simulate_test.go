package gcctl_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"darktower.example/global-controller/internal/fleetsim"
)

func TestSimulate_UsageErrors(t *testing.T) {
	t.Parallel()

	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "needs the name of a scenario"},
		{[]string{"earthquake"}, `unknown scenario "earthquake": allowed are all, steady`},
		{[]string{"steady", "--mcs", "0"}, "1 to 100000"},
		{[]string{"--mcs", "0", "steady"}, "1 to 100000"},
		{[]string{"steady", "--mcs"}, "mcs"},
		{[]string{"steady", "--store", "paper"}, "sqlite or postgres"},
		{[]string{"steady", "--json", filepath.Join(t.TempDir(), "nowhere", "verdict.json")}, "--json: open"},
		{[]string{"steady", "--json", t.TempDir()}, "--json: open"},
		{[]string{"steady", "--database", "postgres://x"}, "--store postgres"},
		{[]string{"steady", "--threshold", "2s"}, "more than twice --fast"},
		{[]string{"steady", "--fast", "1ms"}, "100ms or more"},
		{[]string{"steady", "--duration", "1s"}, "--duration is 1s: at least 4 × --fast, 8s"},
		{[]string{"steady", "--parallel", "-1"}, "1 to 100"},
		{[]string{"steady", "--parallel", "0"}, "--parallel is 0: allowed is 1 to 100"},
		{[]string{"list", "extra"}, "list takes no scenario names"},
		{[]string{"gc-restart", "--address", "127.0.0.1:1", "--ac", "http://127.0.0.1:1"}, "leave out --address"},
		{[]string{"steady", "--address", "127.0.0.1:1"}, "--ac"},
		{[]string{"steady", "--address", "127.0.0.1:1", "--ac", "http://127.0.0.1:1", "--mc-client", "unknown"}, "GCCTL_MC_SECRET"},
	} {
		if got := run(t, append([]string{"simulate"}, tc.args...)...); got.code != 2 || !strings.Contains(got.err, tc.want) {
			t.Errorf("gcctl simulate %v = %d:\n%s\nwant 2 and %q", tc.args, got.code, got.err, tc.want)
		}
	}
}

func TestSimulate_List(t *testing.T) {
	t.Parallel()
	if got := run(t, "simulate", "list"); got.code != 0 || !strings.Contains(got.out, "region-blackout") {
		t.Errorf("gcctl simulate list = %d:\n%s%s", got.code, got.out, got.err)
	}
}

// TestSimulate_FlagsBeforeAndAfterScenario checks that an error, or the help, is printed once wherever the flag is.
func TestSimulate_FlagsBeforeAndAfterScenario(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--bogus", "steady"}, {"steady", "--bogus"}} {
		const want = "gcctl: unknown flag: --bogus; see gcctl simulate --help\n"
		if got := run(t, append([]string{"simulate"}, args...)...); got.code != 2 || got.err != want {
			t.Errorf("gcctl simulate %v = %d:\n%s\nwant 2 and %s", args, got.code, got.err, want)
		}
	}
	for _, args := range [][]string{{"--help"}, {"steady", "--help"}} {
		got := run(t, append([]string{"simulate"}, args...)...)
		if got.code != 0 || strings.Count(got.out, "The exit code says") != 1 || !strings.Contains(got.out, "gc-restart db-outage") {
			t.Errorf("gcctl simulate %v = %d:\n%s\nwant the help with examples once", args, got.code, got.out)
		}
	}
}

// TestSimulate_ExistingGlobalController runs a scenario on the Global Controller of gcctl dev. Its interval is 10 s, and so is the
// duration, so that the rate is not the one that --fast implies: exactly this check fails.
func TestSimulate_ExistingGlobalController(t *testing.T) {
	t.Parallel()
	dev, _ := startDev(t, "--data", t.TempDir(), "--controllers", "1")
	address := waitForOutput(t, dev, `gRPC\s+(\S+)`)[1]
	ac := waitForOutput(t, dev, `auth controller\s+(\S+)`)[1]
	waitForOutput(t, dev, "all 1 controllers are healthy")

	file := filepath.Join(t.TempDir(), "verdict.json")
	got := run(t, "simulate", "steady", "--address", address, "--ac", ac, "--mcs", "20", "--duration", "10s", "--ramp", "1s",
		"--json", file, "--fast", "2s", "--threshold", "30s")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; gcctl simulate = %d:\n%s%s", err, got.code, got.out, got.err)
	}
	var verdicts []fleetsim.Verdict
	if err := json.Unmarshal(text, &verdicts); err != nil || len(verdicts) != 1 {
		t.Fatalf("verdicts = %v, %v", verdicts, err)
	}

	for _, check := range verdicts[0].Checks {
		if strings.HasPrefix(check.Expected, "≤") {
			continue // Durations say nothing beside other tests and the race detector.
		}
		if want := check.Name != "heartbeat rate"; check.Passed != want {
			t.Errorf("%+v, want passed: %v", check, want)
		}
	}
	if got.code != 1 || !strings.Contains(got.err, "checks failed") {
		t.Errorf("gcctl simulate = %d %s, want 1 for the rate", got.code, got.err)
	}
	waitForOutput(t, dev, `sim-\S+\s+left the fleet \(it was healthy\)`)
}
