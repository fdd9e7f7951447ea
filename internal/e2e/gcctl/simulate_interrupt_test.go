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

func TestAnInterruptIsNoBrokenPromise(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cause string
		want  int
	}{{"interrupt signal received", 130}, {"terminated signal received", 143}, {"hangup signal received", 129}, {"something else", 130}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New(tc.cause))
		var out, errs bytes.Buffer
		code := executeWith(ctx, []string{"simulate", "steady"}, &out, &errs)
		if code != tc.want || errs.String() != "gcctl: interrupted before the end of steady\n" || out.String() != "" {
			t.Errorf("gcctl simulate after %q = %d %q\n%s\nwant %d, and the word interrupted once", tc.cause, code, errs.String(), out.String(), tc.want)
		}
	}
}

// TestVerdictsReplaceAFileOnlyWhenThereAreSome holds that a wrong use leaves what --json names as it is.
func TestVerdictsReplaceAFileOnlyWhenThereAreSome(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "verdict.json")
	old := strings.Repeat("an older verdict ", 100)
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := executeWith(t.Context(), []string{"simulate", "steady", "--mcs", "0", "--json", path}, &out, &errs); code != 2 {
		t.Errorf("gcctl simulate = %d, want 2", code)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != old {
		t.Errorf("after a wrong use the file holds %q, %v, want what it held", text, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := executeWith(ctx, []string{"simulate", "steady", "--json", path}, &out, &errs); code != 130 {
		t.Errorf("gcctl simulate = %d, want 130", code)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []fleetsim.Verdict
	if err := json.Unmarshal(text, &verdicts); err != nil || len(verdicts) != 1 || !verdicts[0].IsInterrupted {
		t.Errorf("verdicts = %+v, %v, want one that was interrupted, and nothing behind it", verdicts, err)
	}
}
