// Package testpg gives each test a PostgreSQL database of its own.
package testpg

import (
	"os"
	"testing"

	"darktower.example/global-controller/internal/pgserver"
)

// URL returns the address of a new, empty database, which is dropped when the test ends. Without TEST_DATABASE_URL
// the test fails: a test of the store that does not run hides a hole.
func URL(t testing.TB) string {
	t.Helper()
	admin := os.Getenv("TEST_DATABASE_URL")
	if admin == "" {
		t.Fatal("TEST_DATABASE_URL is not set: run `make test`, which starts a throw-away PostgreSQL, or set it to a server's address")
	}
	address, drop, err := pgserver.NewDatabase(admin, "test_")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Error(err)
		}
	})
	return address
}
