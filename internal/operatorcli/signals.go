package operatorcli

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// terminationSignals returns the signals after which gcctl cleans up and exits. SIGHUP is among them unless it is ignored, as
// under nohup.
func terminationSignals() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	}
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
}

// interruptCode returns the exit code that shells use for the signal that ended ctx: 128 plus its number. The context names the
// signal only in the text of its cause.
func interruptCode(ctx context.Context) int {
	if cause := context.Cause(ctx); cause != nil {
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
			if strings.HasPrefix(cause.Error(), s.String()+" ") {
				return 128 + int(s)
			}
		}
	}
	return 128 + int(syscall.SIGINT)
}
