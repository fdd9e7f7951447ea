package testpg

import (
	"context"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
)

func connect(t *testing.T, address string) *sqlx.DB {
	t.Helper()
	db, err := sqlx.Open("postgres", address)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func mustExec(t *testing.T, db *sqlx.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestURL_DatabasePerTest(t *testing.T) {
	t.Parallel()
	one, other := connect(t, URL(t)), connect(t, URL(t))
	mustExec(t, one, "CREATE TABLE mine (id int)")
	mustExec(t, other, "CREATE TABLE mine (id int)")
}

func TestCluster_RestartKeepsCommits(t *testing.T) {
	t.Parallel()
	c := NewCluster(t)
	db := connect(t, c.URL())
	mustExec(t, db, "CREATE TABLE kept (id int)")

	c.Kill()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("ping of a killed server = nil, want an error")
	}

	c.Restart()
	mustExec(t, connect(t, c.URL()), "INSERT INTO kept VALUES (1)")
	c.Restart()
}

func TestCluster_PausedDoesNotRespond(t *testing.T) {
	t.Parallel()
	c := NewCluster(t)
	db := connect(t, c.URL())
	mustExec(t, db, "SELECT 1")

	c.Pause()
	pinged := make(chan error, 1)
	go func() { pinged <- db.PingContext(context.Background()) }()
	select {
	case err := <-pinged:
		t.Errorf("ping of a paused server = %v, want no response", err)
	case <-time.After(300 * time.Millisecond):
	}

	c.Resume()
	if err := <-pinged; err != nil {
		t.Errorf("ping after resuming = %v, want nil", err)
	}
}
