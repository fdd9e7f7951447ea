package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"darktower.example/global-controller/internal/filelock"
)

func TestTryLock_HeldUntilUnlocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := filelock.TryLock(path)
	if err != nil {
		t.Fatalf("TryLock() = %v", err)
	}

	if _, err := filelock.TryLock(path); !errors.Is(err, filelock.ErrHeld) {
		t.Errorf("TryLock(held) = %v, want ErrHeld", err)
	}
	unlock()
	unlock, err = filelock.TryLock(path)
	if err != nil {
		t.Fatalf("TryLock(unlocked) = %v", err)
	}
	unlock()

	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file: %v, want that it still exists: another process may be about to lock it", err)
	}
	if _, err := filelock.TryLock(filepath.Join(path, "lock")); err == nil || errors.Is(err, filelock.ErrHeld) {
		t.Errorf("TryLock(no folder) = %v, want an error of the system", err)
	}
}
