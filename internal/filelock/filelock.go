// Package filelock excludes other processes on this machine with a lock on a file.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// ErrHeld means that another process, or another caller in this one, holds the lock.
var ErrHeld = errors.New("the lock is held by another process")

// TryLock locks the file at path. It creates the file if it does not exist, and never removes it. If the lock is held, it
// returns [ErrHeld] at once. The lock ends with unlock, and with the process however that ends.
func TryLock(path string) (unlock func(), err error) {
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
