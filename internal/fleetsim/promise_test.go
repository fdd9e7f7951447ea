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

func TestAVerdictIsKeptOnlyWhenEverythingWas(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		v    Verdict
		want bool
	}{
		"all kept":           {Verdict{Promises: []Promise{{Kept: true}, {Kept: true}}}, true},
		"one broken":         {Verdict{Promises: []Promise{{Kept: true}, {}}}, false},
		"nothing promised":   {Verdict{}, false},
		"not to its end":     {Verdict{Promises: []Promise{{Kept: true}}, Error: "x"}, false},
		"kept, as it claims": {Verdict{Promises: []Promise{{}}, Kept: true}, false},
	} {
		if tc.v.judge(); tc.v.Kept != tc.want {
			t.Errorf("%s: kept = %v, want %v", name, tc.v.Kept, tc.want)
		}
	}
	if err := Broken([]Verdict{{Kept: true}, {}}); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("Broken() = %v, want 1 of 2", err)
	}
	if err := Broken([]Verdict{{Kept: true}}); err != nil {
		t.Errorf("Broken() = %v, want nil", err)
	}
}

func TestVerdictsAsTextAndJSON(t *testing.T) {
	t.Parallel()
	v := Verdict{
		Scenario: "steady", Summary: "nothing happens", Store: "SQLite", MCs: 3, Timing: Timing{2 * time.Second, 6 * time.Second, 6 * time.Second}.String(), Seconds: 12.3,
		Promises: []Promise{{"no false death", "0", "0", true}, {"peak", "≤ 2 × steady", "3 × <b>", false}}, Notes: []string{"a note"}, Error: "it broke off",
	}
	v.judge()
	var text bytes.Buffer
	v.WriteTable(&text)
	const want = `
steady: nothing happens
  3 controllers, SQLite, heartbeats each 2s and 6s, stale after 6s, 12 s
  promise         promised      observed
  --------------  ------------  --------  ------
  no false death  0             0         kept
  peak            ≤ 2 × steady  3 × <b>   BROKEN
  note: a note
  the scenario did not come to its end: it broke off
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("WriteTable() (-want +got):\n%s", diff)
	}
	text.Reset()
	WriteSummary(&text, []Verdict{v, {Scenario: "herd", Kept: true}})
	if got := text.String(); !strings.Contains(got, "1 of 2") || !strings.Contains(got, "BROKEN") || !strings.Contains(got, "kept") {
		t.Errorf("WriteSummary() =\n%s", got)
	}
	text.Reset()
	if err := WriteJSON(&text, []Verdict{v}); err != nil {
		t.Fatal(err)
	}
	var back []Verdict
	if err := json.Unmarshal(text.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Verdict{v}, back); diff != "" {
		t.Errorf("WriteJSON() (-want +got):\n%s", diff)
	}
}

func TestDurationsAreShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{1500 * time.Microsecond: "2 ms", 2100 * time.Millisecond: "2.1 s", 18 * time.Second: "18 s", 11420 * time.Millisecond: "11.4 s", 0: "0 s"} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestExamplesAreFew(t *testing.T) {
	t.Parallel()
	for want, of := range map[string][]string{"": nil, " (a, b)": {"a", "b"}, " (a, b, …)": {"a", "b", "c"}} {
		if got := examples(of); got != want {
			t.Errorf("examples(%v) = %q, want %q", of, got, want)
		}
	}
}
