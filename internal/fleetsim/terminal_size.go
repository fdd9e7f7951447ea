package fleetsim

import (
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The size of a terminal that does not report it.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// terminalSize returns the columns and lines of a terminal.
func terminalSize(w io.Writer) (width, height int) {
	if file, ok := w.(*os.File); ok {
		size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
		if err == nil && size.Col > 0 && size.Row > 0 {
			return int(size.Col), int(size.Row)
		}
	}
	return defaultWidth, defaultHeight
}

// fitLines shortens lines to the width and removes those below the height. A line that wraps would count as two, and a line
// that has scrolled away could not be replaced. The last line of the terminal is for the cursor.
func fitLines(lines []string, width, height int) []string {
	fitted := make([]string, 0, len(lines))
	for _, line := range lines[:min(len(lines), max(1, height-1))] {
		fitted = append(fitted, truncate(line, width))
	}
	return fitted
}

// truncate shortens a line to at most width characters. A shortened line ends with an ellipsis.
func truncate(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(0, width-1)]) + "…"
}
