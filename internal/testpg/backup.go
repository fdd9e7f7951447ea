package testpg

import (
	"os"
	"strings"
	"testing"

	"darktower.example/global-controller/internal/pgserver"
)

// Backup copies the database at an address, sqlite:PATH or one that [URL] gave out, and returns what puts the copy in its
// place. Nothing may be connected to the database meanwhile.
func Backup(t testing.TB, databaseURL string) (restore func()) {
	t.Helper()
	if path, isFile := strings.CutPrefix(databaseURL, "sqlite:"); isFile {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("back up: %v", err)
		}
		return func() {
			t.Helper()
			for _, beside := range []string{"-wal", "-shm"} {
				_ = os.Remove(path + beside)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatalf("restore: %v", err)
			}
		}
	}

	copied, drop, err := pgserver.CopyDatabase(os.Getenv("TEST_DATABASE_URL"), databaseURL)
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
		if err := pgserver.ReplaceDatabase(os.Getenv("TEST_DATABASE_URL"), databaseURL, copied); err != nil {
			t.Fatalf("restore: %v", err)
		}
	}
}
