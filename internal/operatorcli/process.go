// Package operate is what operators do with gcctl: look at the fleet, drain controllers, read the history, and find out
// what is wrong. It speaks FleetService to a Global Controller as any other tool would, and knows nothing that cannot be
// asked for there.
package operatorcli

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Process is what a command has of the process that it runs in. Tests give another one.
type Process struct {
	In       io.Reader
	Out, Err io.Writer
	// Env reads an environment variable; empty: not set.
	Env func(name string) string
	// Now is the clock of this machine. Ages are never computed from it.
	Now func() time.Time
	// InTerminal, OutTerminal and ErrTerminal tell whether somebody types, and reads.
	InTerminal, OutTerminal, ErrTerminal bool
	// Size is how many columns and lines Out has.
	Size func() (width, height int)
	// ReaderGone reports whether the reader of Out has closed it; nil if that cannot be detected.
	ReaderGone func() bool
	// Version is that of this program.
	Version string
}

// The size of a terminal that does not tell it.
const (
	usualWidth  = 80
	usualHeight = 24
)

// NewProcess describes the process that runs, with these streams.
func NewProcess(in io.Reader, out, err io.Writer, version string) Process {
	_, _, outTerminal := terminalSize(out)
	_, _, errTerminal := terminalSize(err)
	_, _, inTerminal := terminalSize(in)
	dumb := os.Getenv("TERM") == "" || os.Getenv("TERM") == "dumb"
	return Process{
		In: in, Out: out, Err: err, Env: os.Getenv, Now: time.Now, Version: version, ReaderGone: readerGoneFrom(out),
		InTerminal: inTerminal, OutTerminal: outTerminal && !dumb, ErrTerminal: errTerminal && !dumb,
		Size: func() (int, int) {
			width, height, _ := terminalSize(out)
			return width, height
		},
	}
}

// terminalSize also tells whether the stream is a terminal at all: only those have a size.
func terminalSize(stream any) (width, height int, terminal bool) {
	file, ok := stream.(*os.File)
	if !ok {
		return usualWidth, usualHeight, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return usualWidth, usualHeight, false
	case size.Col == 0 || size.Row == 0:
		return usualWidth, usualHeight, true
	}
	return int(size.Col), int(size.Row), true
}
