package operatorcli

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrOutputClosed means that the reader of the output has closed it, as head does after its lines.
var ErrOutputClosed = errors.New("the reader of the output has closed it")

// ExitOutputClosed is the exit code for [ErrOutputClosed]: the one that shells use for SIGPIPE.
const ExitOutputClosed = 128 + int(syscall.SIGPIPE)

// outputCheckInterval is how often a command that waits checks whether its output is closed.
const outputCheckInterval = 250 * time.Millisecond

// outputClosedFunc returns a function that reports whether the other end of a pipe or a socket was closed. For a file it is never
// closed. The function is nil if out is no *os.File.
func outputClosedFunc(out any) func() bool {
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	return func() bool {
		polled := []unix.PollFd{{Fd: int32(file.Fd())}} //nolint:gosec // Descriptors are small.
		n, err := unix.Poll(polled, 0)
		return err == nil && n > 0 && polled[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
	}
}

// runUntilOutputClosed runs work, and cancels it when the reader of the output has closed it. A write would detect that, but work
// may write nothing for a long time.
func (c *cli) runUntilOutputClosed(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var checker sync.WaitGroup
	if c.IsOutputClosed != nil {
		checker.Go(func() {
			for !c.IsOutputClosed() {
				if !sleep(ctx, outputCheckInterval) {
					return
				}
			}
			cancel(ErrOutputClosed)
		})
	}

	err := work(ctx)
	cancel(nil)
	checker.Wait()
	if errors.Is(context.Cause(ctx), ErrOutputClosed) || errors.Is(err, syscall.EPIPE) {
		return ErrOutputClosed
	}
	return err
}
