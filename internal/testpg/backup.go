package testpg

import (
	"os"
	"strings"
	"testing"

	"darktower.example/global-controller/internal/pgserver"
)

// Backup copies the database at an address, which is sqlite:PATH or a result of [URL]. It returns a function that replaces the
// database by the copy. The database must have no connections during both.
func Backup(t testing.TB, databaseURL string) (restore func()) {
	t.Helper()
	if path, isFile := strings.CutPrefix(databaseURL, "sqlite:"); isFile {
		return backUpFile(t, path)
	}

	copyName, drop, err := pgserver.CopyDatabase(os.Getenv("TEST_DATABASE_URL"), databaseURL)
	if err != nil {
		t.Fatalf("back up: %v", err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
	})

	return func() {
		t.Helper()
		if err := pgserver.ReplaceDatabase(os.Getenv("TEST_DATABASE_URL"), databaseURL, copyName); err != nil {
			t.Fatalf("restore: %v", err)
		}
	}
}

func backUpFile(t testing.TB, path string) (restore func()) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("back up: %v", err)
	}

	return func() {
		t.Helper()
		for _, suffix := range []string{"-wal", "-shm"} {
			_ = os.Remove(path + suffix)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatalf("restore: %v", err)
		}
	}
}
