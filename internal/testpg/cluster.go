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

// NewCluster starts a server with further arguments, which is stopped and removed when the test ends, or when the test's process does.
func NewCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	server, err := pgserver.New(args...)
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

// NewStandby starts a hot standby of the server, which is removed when the test ends.
func (c *Cluster) NewStandby() *Cluster {
	c.t.Helper()
	server, err := c.server.NewStandby()
	c.must(err)
	c.t.Cleanup(func() {
		if err := server.Close(); err != nil {
			c.t.Errorf("remove PostgreSQL: %v", err)
		}
	})
	return &Cluster{t: c.t, server: server}
}

// Promote makes a primary of a standby.
func (c *Cluster) Promote() { c.t.Helper(); c.must(c.server.Promote()) }

// Address is the server's host and port.
func (c *Cluster) Address() string { return c.server.Address() }

// NewRelay returns a relay to an address, which ends when the test does.
func NewRelay(t testing.TB, to string) *pgserver.Relay {
	t.Helper()
	relay, err := pgserver.NewRelay(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = relay.Close() })
	return relay
}

// NewPooler starts a PgBouncer before the server at an address, which ends when the test does.
func NewPooler(t testing.TB, address, mode string, size int, lines ...string) *pgserver.Pooler {
	t.Helper()
	pooler, err := pgserver.NewPooler(address, mode, size, lines...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pooler.Close(); err != nil {
			t.Errorf("remove PgBouncer: %v", err)
		}
	})
	return pooler
}
