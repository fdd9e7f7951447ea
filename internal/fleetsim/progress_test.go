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

func testSnapshot() snapshot {
	s := NewSeries()
	for range 30 {
		s.Record(true, codes.OK, s.startedAt, time.Millisecond)
	}
	s.Record(false, codes.Unavailable, s.startedAt, time.Millisecond)

	return snapshot{
		scenario: "herd",
		target:   "SQLite",
		phase:    "steady",
		elapsed:  12 * time.Second,
		inPhase:  2 * time.Second,
		mcs:      5,
		running:  4,
		regions:  []string{"a", "b"},
		states:   map[string]map[string]int{"a": {"healthy": 3}, "b": {"unhealthy": 1, "healthy": 1}},
		counts:   s.CountsBetween(s.startedAt, s.startedAt.Add(time.Second)),
	}
}

func TestSnapshot_FormatLine(t *testing.T) {
	t.Parallel()
	const want = "4 running; 4 healthy, 1 unhealthy; 30 heartbeats/s, 1 registrations, " +
		"half within 1 ms, 99 % within 1 ms, 1 failed (1 Unavailable)"
	if got := testSnapshot().formatLine(); got != want {
		t.Errorf("formatLine() =\n%s\nwant\n%s", got, want)
	}
}

func TestSnapshot_FormatScreen(t *testing.T) {
	t.Parallel()
	lines := testSnapshot().formatScreen()
	if len(lines) != 6 {
		t.Errorf("formatScreen() has %d lines, want one for each of 2 regions and 4 more", len(lines))
	}

	got := strings.Join(lines, "\n")
	for _, want := range []string{
		"herd on SQLite: 4 of 5 controllers running, 12 s elapsed", "now: steady (for 2 s)", "calls: 30 heartbeats/s", "region", "unhealthy",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("formatScreen() lacks %q:\n%s", want, got)
		}
	}
}

// TestSnapshot_ShowsAgeOfOldStates: states from before an outage must not look like current ones.
func TestSnapshot_ShowsAgeOfOldStates(t *testing.T) {
	t.Parallel()
	s := testSnapshot()
	s.statesAge = 12 * time.Second
	if got := s.formatLine(); !strings.Contains(got, "4 healthy, 1 unhealthy 12 s ago;") {
		t.Errorf("formatLine() = %s, want the age of the states", got)
	}
	if got := s.formatScreen()[3]; !strings.HasPrefix(got, "  12 s ago:        pending") {
		t.Errorf("the heading of the states is %q, want their age", got)
	}
}

func TestOutput_DrawReplacesPreviousLines(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	o := &output{w: &b}
	o.draw([]string{"one", "two"})
	o.draw([]string{"three"})
	o.clear()
	o.printLine("herd", "done")

	const want = "\r\x1b[Jone\ntwo\n\x1b[2A\r\x1b[Jthree\n\x1b[1A\r\x1b[J"
	if got := b.String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "herd              done\n") {
		t.Errorf("drawn %q, want %q and a line", got, want)
	}
}

// TestOutput_DrawFitsTerminal: the next draw could not replace a line that has wrapped or scrolled away.
func TestOutput_DrawFitsTerminal(t *testing.T) {
	t.Parallel()
	got := fitLines([]string{"half within ≤ 1 ms", "≤≤≤≤≤", "six", "seven", "eight"}, 5, 4)
	if diff := cmp.Diff([]string{"half…", "≤≤≤≤≤", "six"}, got); diff != "" {
		t.Errorf("fitLines() (-want +got):\n%s", diff)
	}

	var b bytes.Buffer
	o := &output{w: &b} // Not a terminal: 80 columns, 24 lines.
	o.draw(slices.Repeat([]string{strings.Repeat("–", 100)}, 30))
	o.draw(nil)
	want := "\r\x1b[J" + strings.Repeat(strings.Repeat("–", 79)+"…\n", 23) + "\x1b[23A\r\x1b[J"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("drawn (-want +got):\n%s", diff)
	}
}
