package operatorcli

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// clean has nothing that came from elsewhere steer the terminal: what is not printed is shown as its number.
func clean(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, steers) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if steers(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// steers tells whether a character does something other than stand there: control characters, and those that turn the
// direction of what follows.
func steers(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// width is how many columns a text takes, rather too many than too few.
func width(text string) int {
	columns := 0
	for _, r := range text {
		columns++
		if r >= 0x2e80 { // East Asian scripts, and pictures.
			columns++
		}
	}
	return columns
}

// age shows a time that has passed in two units at most.
func age(d time.Duration) string {
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

// milliseconds reads a time off the wire, which may be anything.
func milliseconds(n uint64) time.Duration { return time.Duration(min(n, 1<<40)) * time.Millisecond }

func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// instant shows a time to the second, in UTC as everywhere in the service.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
