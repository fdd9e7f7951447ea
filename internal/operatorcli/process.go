package operatorcli

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Process is what a command uses of its process. Tests set other values.
type Process struct {
	In       io.Reader
	Out, Err io.Writer
	// Env returns an environment variable; empty if it is not set.
	Env func(name string) string
	// Now returns the time of this machine's clock. Ages are never computed from it.
	Now func() time.Time
	// InTerminal, OutTerminal and ErrTerminal report whether a stream is a terminal.
	InTerminal, OutTerminal, ErrTerminal bool
	// Size returns the number of columns and lines of Out.
	Size func() (width, height int)
	// IsOutputClosed reports whether the reader of Out has closed it. It is nil if that cannot be detected.
	IsOutputClosed func() bool
	// Version is the version of this program.
	Version string
}

// The size of a terminal that does not report one.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// NewProcess returns the process of this program with the given streams.
func NewProcess(in io.Reader, out, err io.Writer, version string) Process {
	_, _, isInTerminal := terminalSize(in)
	_, _, isOutTerminal := terminalSize(out)
	_, _, isErrTerminal := terminalSize(err)
	isDumb := os.Getenv("TERM") == "" || os.Getenv("TERM") == "dumb"

	return Process{
		In:             in,
		Out:            out,
		Err:            err,
		Env:            os.Getenv,
		Now:            time.Now,
		InTerminal:     isInTerminal,
		OutTerminal:    isOutTerminal && !isDumb,
		ErrTerminal:    isErrTerminal && !isDumb,
		IsOutputClosed: outputClosedFunc(out),
		Version:        version,
		Size: func() (width, height int) {
			width, height, _ = terminalSize(out)
			return width, height
		},
	}
}

// terminalSize returns the size of a terminal, and reports whether the stream is one: only a terminal has a size.
func terminalSize(stream any) (width, height int, isTerminal bool) {
	file, ok := stream.(*os.File)
	if !ok {
		return defaultWidth, defaultHeight, false
	}

	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return defaultWidth, defaultHeight, false
	case size.Col == 0 || size.Row == 0:
		return defaultWidth, defaultHeight, true
	}
	return int(size.Col), int(size.Row), true
}
