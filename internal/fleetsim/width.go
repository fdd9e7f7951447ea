package fleetsim

import (
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The size of a terminal that does not tell it.
const (
	usualWidth  = 80
	usualHeight = 24
)

// sizeOf is how many columns and lines there are to draw on.
func sizeOf(w io.Writer) (width, height int) {
	if file, ok := w.(*os.File); ok {
		size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
		if err == nil && size.Col > 0 && size.Row > 0 {
			return int(size.Col), int(size.Row)
		}
	}
	return usualWidth, usualHeight
}

// fit cuts what does not fit: a line that wraps would be two, and one that scrolled away could not be replaced. The
// last line of the terminal is the cursor's.
func fit(lines []string, width, height int) []string {
	fitting := make([]string, 0, len(lines))
	for _, line := range lines[:min(len(lines), max(1, height-1))] {
		fitting = append(fitting, cut(line, width))
	}
	return fitting
}

// cut shortens a line to so many letters, and shows that it did.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(0, width-1)]) + "…"
}
