package testpg

import (
	"testing"

	"darktower.example/global-controller/internal/pgserver"
)

// Cluster is a PostgreSQL server of a test's own, which the test may kill, start again and freeze. Its methods end the
// test when they do not succeed; call them from the test's goroutine.
type Cluster struct {
	t      testing.TB
	server *pgserver.Cluster
}

// NewCluster starts a server, which is stopped and removed when the test ends, or when the test's process does.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	server, err := pgserver.New()
	if err != nil {
		t.Fatalf("%v (`make test` installs what it needs)", err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("remove PostgreSQL: %v", err)
		}
	})
	return &Cluster{t: t, server: server}
}

// URL is the address of the server's only database. It stays the same when the server is started again.
func (c *Cluster) URL() string { return c.server.URL() }

// Kill stops the server at once, without a checkpoint and without a word to its clients, as a crash does; it returns
// when nothing of it is left.
func (c *Cluster) Kill() { c.t.Helper(); c.must(c.server.Kill()) }

// Restart starts a server that was killed, on the same port, and returns when it answers.
func (c *Cluster) Restart() { c.t.Helper(); c.must(c.server.Restart()) }

// Pause freezes the server: connections stay open, new ones are taken by the system, and nothing is answered.
func (c *Cluster) Pause() { c.t.Helper(); c.must(c.server.Pause()) }

// Resume ends a Pause.
func (c *Cluster) Resume() { c.t.Helper(); c.must(c.server.Resume()) }

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}
