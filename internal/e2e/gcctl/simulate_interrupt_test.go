package gcctl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"darktower.example/global-controller/internal/fleetsim"
)

func TestSimulate_Interrupt(t *testing.T) {
	t.Parallel()
	for cause, want := range map[string]int{
		"interrupt signal received":  130,
		"terminated signal received": 143,
		"hangup signal received":     129,
		"something else":             130,
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New(cause))

		var out, errs bytes.Buffer
		code := execute(ctx, []string{"simulate", "steady"}, &out, &errs)
		if code != want || errs.String() != "gcctl: interrupted before the end of steady\n" || out.String() != "" {
			t.Errorf("gcctl simulate after %q = %d %q\n%s\nwant %d, and the word interrupted once", cause, code, errs.String(), out.String(), want)
		}
	}
}

// TestSimulate_VerdictFile checks that a usage error leaves the file of --json as it is, and that verdicts replace its content.
func TestSimulate_VerdictFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "verdict.json")
	old := strings.Repeat("an older verdict ", 100)
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "simulate", "steady", "--mcs", "0", "--json", path); got.code != 2 {
		t.Errorf("gcctl simulate = %d, want 2", got.code)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != old {
		t.Errorf("after a usage error the file has %q, %v, want its old content", text, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := execute(ctx, []string{"simulate", "steady", "--json", path}, &out, &errs); code != 130 {
		t.Errorf("gcctl simulate = %d, want 130", code)
	}

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []fleetsim.Verdict
	if err := json.Unmarshal(text, &verdicts); err != nil || len(verdicts) != 1 || !verdicts[0].IsInterrupted {
		t.Errorf("verdicts = %+v, %v, want one that was interrupted, and nothing after it", verdicts, err)
	}
}
