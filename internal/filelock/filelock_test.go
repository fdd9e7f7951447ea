package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"darktower.example/global-controller/internal/filelock"
)

func TestALockIsHeldByOneUntilItEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := filelock.Try(path)
	if err != nil {
		t.Fatalf("Try() = %v", err)
	}
	if _, err := filelock.Try(path); !errors.Is(err, filelock.ErrHeld) {
		t.Errorf("Try(held) = %v, want ErrHeld", err)
	}
	unlock()
	unlock, err = filelock.Try(path)
	if err != nil {
		t.Fatalf("Try(unlocked) = %v", err)
	}
	unlock()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file: %v, want it left there: somebody may be about to lock it", err)
	}
	if _, err := filelock.Try(filepath.Join(path, "lock")); err == nil || errors.Is(err, filelock.ErrHeld) {
		t.Errorf("Try(no folder) = %v, want an error of the system", err)
	}
}
