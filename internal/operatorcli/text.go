package operatorcli

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// clean replaces characters that could control the terminal by their numbers. All text from elsewhere passes through it.
func clean(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, controlsTerminal) {
		return text
	}

	var b strings.Builder
	for _, r := range text {
		if controlsTerminal(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// controlsTerminal reports whether a character does more than occupy its place. Such are control characters, line separators,
// and characters that change the direction of the text after them.
func controlsTerminal(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// countColumns returns how many columns of a terminal a text takes; rather too many than too few.
func countColumns(text string) int {
	columns := 0
	for _, r := range text {
		columns++
		if r >= 0x2e80 { // East Asian scripts and pictures take two columns.
			columns++
		}
	}
	return columns
}

// formatAge formats a duration in at most two units. A negative one is 0.
func formatAge(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// formatTime formats a time to the second, in UTC as everywhere in the service.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// milliseconds converts a number of the wire, which may be larger than a duration can hold.
func milliseconds(n uint64) time.Duration { return time.Duration(min(n, 1<<40)) * time.Millisecond }

func formatCount(n int64, singular, plural string) string {
	if n == 1 {
		return "1 " + singular
	}
	return fmt.Sprintf("%d %s", n, plural)
}

// orDash returns "-" for an empty text.
func orDash(text string) string { return cmp.Or(text, "-") }

func formatYesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func joinOr(texts []string) string { return joinWith(texts, " or ") }

func joinAnd(texts []string) string { return joinWith(texts, " and ") }

// joinWith joins at least one text with commas, and the last one with the conjunction.
func joinWith(texts []string, conjunction string) string {
	last := len(texts) - 1
	if last == 0 {
		return texts[0]
	}
	return strings.Join(texts[:last], ", ") + conjunction + texts[last]
}

// joinFirst joins the first few texts, and counts the others.
func joinFirst(texts []string) string {
	const limit = 5
	if len(texts) <= limit {
		return joinAnd(texts)
	}
	return fmt.Sprintf("%s and %d more", joinAnd(texts[:limit]), len(texts)-limit)
}
