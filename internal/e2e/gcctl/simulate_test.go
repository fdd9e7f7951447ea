package gcctl_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"darktower.example/global-controller/internal/fleetsim"
)

func TestSimulateIsToldWhatItIsToDo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "needs the name of a scenario"},
		{[]string{"earthquake"}, `no scenario "earthquake": there are all, steady`},
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
		{[]string{"list", "extra"}, "list only lists"},
		{[]string{"gc-restart", "--address", "127.0.0.1:1", "--ac", "http://127.0.0.1:1"}, "leave out --address"},
		{[]string{"steady", "--address", "127.0.0.1:1"}, "--ac"},
		{[]string{"steady", "--address", "127.0.0.1:1", "--ac", "http://127.0.0.1:1", "--mc-client", "stranger"}, "GCCTL_MC_SECRET"},
	} {
		var out, errs bytes.Buffer
		if code := executeWith(t.Context(), append([]string{"simulate"}, tc.args...), &out, &errs); code != 2 || !strings.Contains(errs.String(), tc.want) {
			t.Errorf("gcctl simulate %v = %d:\n%s\nwant 2 and %q", tc.args, code, errs.String(), tc.want)
		}
	}
	var out, errs bytes.Buffer
	if code := executeWith(t.Context(), []string{"simulate", "list"}, &out, &errs); code != 0 || !strings.Contains(out.String(), "region-blackout") {
		t.Errorf("gcctl simulate list = %d:\n%s%s", code, out.String(), errs.String())
	}
	if code := executeWith(t.Context(), []string{"simulate", "--help"}, &out, &errs); code != 0 || !strings.Contains(errs.String(), "gc-restart db-outage") {
		t.Errorf("gcctl simulate --help = %d:\n%s, want examples", code, errs.String())
	}
}

// TestAWrongFlagIsSaidOnce holds that what is wrong is said once, and help given once, wherever the flag stands.
func TestAWrongFlagIsSaidOnce(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--bogus", "steady"}, {"steady", "--bogus"}} {
		var out, errs bytes.Buffer
		const want = "gcctl: flag provided but not defined: -bogus; see gcctl simulate --help\n"
		if code := executeWith(t.Context(), append([]string{"simulate"}, args...), &out, &errs); code != 2 || errs.String() != want {
			t.Errorf("gcctl simulate %v = %d:\n%s\nwant 2 and %s", args, code, errs.String(), want)
		}
	}
	for _, args := range [][]string{{"--help"}, {"steady", "--help"}} {
		var out, errs bytes.Buffer
		if code := executeWith(t.Context(), append([]string{"simulate"}, args...), &out, &errs); code != 0 || strings.Count(errs.String(), "It exits with 0") != 1 {
			t.Errorf("gcctl simulate %v = %d:\n%s\nwant the help once", args, code, errs.String())
		}
	}
}

// TestSimulateAgainstAGlobalControllerThatIsThere plays on that of gcctl dev, and leaves its fleet as it was.
func TestSimulateAgainstAGlobalControllerThatIsThere(t *testing.T) {
	t.Parallel()
	dev, _ := runDev(t, "--data", t.TempDir(), "--controllers", "1")
	address := await(t, dev, `gRPC\s+(\S+)`)[1]
	ac := await(t, dev, `auth controller\s+(\S+)`)[1]
	await(t, dev, "all 1 controllers are healthy")
	file := filepath.Join(t.TempDir(), "verdict.json")
	var out, errs bytes.Buffer
	// Its interval is 10 s, which is as long as is looked.
	code := executeWith(t.Context(), []string{"simulate", "steady", "--address", address, "--ac", ac, "--mcs", "20", "--duration", "10s", "--ramp", "1s", "--json", file, "--fast", "2s", "--threshold", "30s"}, &out, &errs)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; gcctl simulate = %d:\n%s%s", err, code, out.String(), errs.String())
	}
	var verdicts []fleetsim.Verdict
	if err := json.Unmarshal(text, &verdicts); err != nil || len(verdicts) != 1 {
		t.Fatalf("verdicts = %v, %v", verdicts, err)
	}
	for _, check := range verdicts[0].Checks {
		if strings.HasPrefix(check.Expected, "≤") {
			continue // Times are not meaningful beside the race detector and other tests.
		}
		// The rate differs from the one that --fast leads to: that Global Controller has intervals of its own.
		if want := check.Name != "heartbeat rate"; check.Passed != want {
			t.Errorf("%+v, want passed: %v", check, want)
		}
	}
	if code != 1 || !strings.Contains(errs.String(), "checks failed") {
		t.Errorf("gcctl simulate = %d %s, want 1 for the check of the rate", code, errs.String())
	}
	await(t, dev, `sim-\S+\s+healthy -> gone`)
}
