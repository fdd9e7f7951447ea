package fleetsim

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

func shown() snapshot {
	s := NewSeries()
	for range 30 {
		s.Add(true, codes.OK, s.began, time.Millisecond)
	}
	s.Add(false, codes.Unavailable, s.began, time.Millisecond)
	return snapshot{
		scenario: "herd", where: "SQLite", phase: "steady", elapsed: 12 * time.Second, inPhase: 2 * time.Second, mcs: 5, running: 4,
		regions: []string{"a", "b"}, states: map[string]map[string]int{"a": {"healthy": 3}, "b": {"unhealthy": 1, "healthy": 1}},
		counts: s.Between(s.began, s.began.Add(time.Second)),
	}
}

func TestASnapshotAsALine(t *testing.T) {
	t.Parallel()
	const want = "4 run; 4 healthy, 1 unhealthy; 30 heartbeats/s, 1 registrations, half within 1 ms, 99 % within 1 ms, 1 failed (1 Unavailable)"
	if got := shown().line(); got != want {
		t.Errorf("line() =\n%s\nwant\n%s", got, want)
	}
}

func TestASnapshotAsAScreen(t *testing.T) {
	t.Parallel()
	got := strings.Join(shown().screen(), "\n")
	for _, want := range []string{"herd on SQLite: 4 of 5 controllers run, 12 s so far", "now: steady (for 2 s)", "calls: 30 heartbeats/s", "region", "unhealthy"} {
		if !strings.Contains(got, want) {
			t.Errorf("screen() lacks %q:\n%s", want, got)
		}
	}
	if lines := shown().screen(); len(lines) != 6 {
		t.Errorf("screen() has %d lines, want one for each of 2 regions and 4 more", len(lines))
	}
}

// TestOldStatesAreCalledOld holds that nobody takes what was so before an outage for what is so.
func TestOldStatesAreCalledOld(t *testing.T) {
	t.Parallel()
	s := shown()
	s.age = 12 * time.Second
	if got := s.line(); !strings.Contains(got, "4 healthy, 1 unhealthy 12 s ago;") {
		t.Errorf("line() = %s, want how old the states are", got)
	}
	if got := s.screen()[3]; !strings.HasPrefix(got, "  12 s ago:        pending") {
		t.Errorf("the states' heading is %q, want how old they are", got)
	}
}

func TestADrawingReplacesTheOneBefore(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	o := &output{w: &b}
	o.draw([]string{"one", "two"})
	o.draw([]string{"three"})
	o.clear()
	o.line("herd", "done")
	const want = "\r\x1b[Jone\ntwo\n\x1b[2A\r\x1b[Jthree\n\x1b[1A\r\x1b[J"
	if got := b.String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "herd              done\n") {
		t.Errorf("drawn %q, want %q and a line", got, want)
	}
}

// TestADrawingFitsTheTerminal holds that nothing wraps or scrolls away, which the next drawing could not replace.
func TestADrawingFitsTheTerminal(t *testing.T) {
	t.Parallel()
	got := fit([]string{"half within ≤ 1 ms", "≤≤≤≤≤", "six", "seven", "eight"}, 5, 4)
	if diff := cmp.Diff([]string{"half…", "≤≤≤≤≤", "six"}, got); diff != "" {
		t.Errorf("fit() (-want +got):\n%s", diff)
	}
	var b bytes.Buffer
	o := &output{w: &b} // No terminal: 80 columns, 24 lines.
	o.draw(slices.Repeat([]string{strings.Repeat("–", 100)}, 30))
	o.draw(nil)
	want := "\r\x1b[J" + strings.Repeat(strings.Repeat("–", 79)+"…\n", 23) + "\x1b[23A\r\x1b[J"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("drawn (-want +got):\n%s", diff)
	}
}
