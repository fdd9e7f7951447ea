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

// ErrReaderGone means that nothing reads the output any more, as when head has read its lines.
var ErrReaderGone = errors.New("nothing reads the output any more")

// ExitReaderGone is the exit code then: what a shell makes of SIGPIPE, which ends those that write.
const ExitReaderGone = 128 + int(syscall.SIGPIPE)

// readerCheckInterval is how often a waiting command checks whether its reader has closed the output.
const readerCheckInterval = 250 * time.Millisecond

// readerGoneFrom returns a function that reports whether the other end of a pipe or a socket was closed; nil if out is
// something else, or a file, whose reader is no matter.
func readerGoneFrom(out any) func() bool {
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	return func() bool {
		watched := []unix.PollFd{{Fd: int32(file.Fd())}} //nolint:gosec // Descriptors are small.
		n, err := unix.Poll(watched, 0)
		return err == nil && n > 0 && watched[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
	}
}

// runUntilReaderGone runs work, and cancels it when the reader of the output has closed it. A write would detect that, but work
// may write nothing for a long time.
func (t *tool) runUntilReaderGone(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	if t.ReaderGone != nil {
		looking.Go(func() {
			for !t.ReaderGone() {
				if !sleep(ctx, readerCheckInterval) {
					return
				}
			}
			cancel(ErrReaderGone)
		})
	}

	err := work(ctx)
	cancel(nil)
	looking.Wait()
	if errors.Is(context.Cause(ctx), ErrReaderGone) || errors.Is(err, syscall.EPIPE) {
		return ErrReaderGone
	}
	return err
}
