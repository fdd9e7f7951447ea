// Package filelock keeps other processes of this machine out by a lock on a file.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// ErrHeld means that somebody else holds the lock.
var ErrHeld = errors.New("the lock is held by somebody else")

// Try takes the lock of the file at path, which it makes if need be and never removes; [ErrHeld] if that cannot be had
// now. The lock ends with unlock, and with the process, whatever ends that.
func Try(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return func() { _ = file.Close() }, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(ErrHeld, file.Close())
		default:
			return nil, errors.Join(err, file.Close())
		}
	}
}
