package fleetsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVerdict_SetPassed(t *testing.T) {
	t.Parallel()
	passed := Check{Passed: true}

	for name, tc := range map[string]struct {
		v    Verdict
		want bool
	}{
		"all passed":             {Verdict{Checks: []Check{passed, passed}}, true},
		"one failed":             {Verdict{Checks: []Check{passed, {}}}, false},
		"no checks":              {Verdict{}, false},
		"incomplete":             {Verdict{Checks: []Check{passed}, Error: "x"}, false},
		"interrupted":            {Verdict{Checks: []Check{passed}, IsInterrupted: true}, false},
		"set before, one failed": {Verdict{Checks: []Check{{}}, Passed: true}, false},
	} {
		if tc.v.setPassed(); tc.v.Passed != tc.want {
			t.Errorf("%s: passed = %v, want %v", name, tc.v.Passed, tc.want)
		}
	}
}

func TestVerdictsError_CountsFailed(t *testing.T) {
	t.Parallel()
	if err := VerdictsError([]Verdict{{Passed: true}, {}}); !errors.Is(err, ErrChecksFailed) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("VerdictsError() = %v, want 1 of 2", err)
	}
	if err := VerdictsError([]Verdict{{Passed: true}}); err != nil {
		t.Errorf("VerdictsError() = %v, want nil", err)
	}
}

func testVerdict() Verdict {
	v := Verdict{
		Scenario:    "steady",
		Summary:     "nothing happens",
		Store:       "SQLite",
		Controllers: 3,
		Timing:      Timing{2 * time.Second, 6 * time.Second, 6 * time.Second}.String(),
		Seconds:     12.3,
		Checks: []Check{
			{Name: "failed calls", Expected: "0", Observed: "0", Passed: true},
			{Name: "peak", Expected: "≤ 2 × steady", Observed: "3 × <b>"},
		},
		Notes: []string{"a note"},
		Error: "a failure",
	}

	v.setPassed()
	return v
}

func TestVerdict_WriteTable(t *testing.T) {
	t.Parallel()
	const want = `
steady: nothing happens
  3 controllers, SQLite, heartbeats each 2s and 6s, stale after 6s, 12 s
  check         expected      observed  result
  ------------  ------------  --------  ------
  failed calls  0             0         passed
  peak          ≤ 2 × steady  3 × <b>   FAILED
  note: a note
  the scenario could not be completed: a failure
`

	var text bytes.Buffer
	v := testVerdict()
	v.WriteTable(&text)
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("WriteTable() (-want +got):\n%s", diff)
	}
}

func TestWriteSummary_FailedAndPassed(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	WriteSummary(&text, []Verdict{testVerdict(), {Scenario: "herd", Passed: true}})
	got := text.String()
	if !strings.Contains(got, "1 of 2") || !strings.Contains(got, "FAILED") || !strings.Contains(got, "  passed\n") {
		t.Errorf("WriteSummary() =\n%s", got)
	}
}

func TestWriteJSON_RoundTrip(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := WriteJSON(&text, []Verdict{testVerdict()}); err != nil {
		t.Fatal(err)
	}

	var got []Verdict
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Verdict{testVerdict()}, got); diff != "" {
		t.Errorf("WriteJSON() (-want +got):\n%s", diff)
	}
}

// TestWriteJSON_Keys keeps the names of the fields, which programs that read the verdicts depend on.
func TestWriteJSON_Keys(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	v := testVerdict()
	v.IsInterrupted = true
	if err := WriteJSON(&text, []Verdict{v}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"scenario", "summary", "store", "mcs", "timing", "seconds", "promises", "promise", "promised", "observed", "kept",
		"notes", "error", "interrupted",
	} {
		if !strings.Contains(text.String(), `"`+key+`": `) {
			t.Errorf("the JSON has no key %q:\n%s", key, text.String())
		}
	}
}

func TestFormatDuration_Rounds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		1500 * time.Microsecond:  "2 ms",
		2100 * time.Millisecond:  "2.1 s",
		18 * time.Second:         "18 s",
		11420 * time.Millisecond: "11.4 s",
		0:                        "0 s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestFormatExamples_AtMostTwo(t *testing.T) {
	t.Parallel()
	for want, values := range map[string][]string{"": nil, " (a, b)": {"a", "b"}, " (a, b, …)": {"a", "b", "c"}} {
		if got := formatExamples(values); got != want {
			t.Errorf("formatExamples(%v) = %q, want %q", values, got, want)
		}
	}
}
