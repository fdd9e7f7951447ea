package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// endings are the signals that end gcctl in order, so that nothing is left behind: an interrupt, a request, and the
// terminal that closes, unless nohup had that one ignored.
func endings() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	}
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
}

// interruptCode is what shells call the end by a signal. The context says only in words which signal ended it.
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
