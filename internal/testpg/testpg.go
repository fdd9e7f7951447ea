// Package testpg gives each test its own PostgreSQL database.
package testpg

import (
	"os"
	"testing"

	"darktower.example/global-controller/internal/pgserver"
)

// URL creates an empty database and returns its address. The database is dropped at the end of the test. If TEST_DATABASE_URL is not
// set, the test fails: a test of the store that is skipped would hide a gap.
func URL(t testing.TB) string {
	t.Helper()
	admin := os.Getenv("TEST_DATABASE_URL")
	if admin == "" {
		t.Fatal("TEST_DATABASE_URL is not set: run internal/testpg/with-postgres.sh go test …, or set it to a server's address")
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
