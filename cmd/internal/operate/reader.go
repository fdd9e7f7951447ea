package operate

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

// readerPause is how often a command that waits for news looks whether its reader is still there.
const readerPause = 250 * time.Millisecond

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

// whileRead does work that may write nothing for long. It ends when the reader is gone: a write would notice that, but there
// may be none.
func (t *tool) whileRead(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	if t.ReaderGone != nil {
		looking.Go(func() {
			for !t.ReaderGone() {
				if !sleep(ctx, readerPause) {
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
