package testpg

import (
	"testing"

	"darktower.example/global-controller/internal/pgserver"
)

// Cluster is a PostgreSQL server for one test, which can kill, restart and pause it. An error of a method fails the test, so call the
// methods from the test's goroutine only.
type Cluster struct {
	t      testing.TB
	server *pgserver.Cluster
}

// NewCluster starts a server with further arguments. The server is stopped and removed at the end of the test, or of its process.
func NewCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	server, err := pgserver.NewCluster(args...)
	if err != nil {
		t.Fatalf("%v (make test installs PostgreSQL)", err)
	}
	return newCluster(t, server)
}

// NewStandby starts a hot standby of the server, which is removed at the end of the test.
func (c *Cluster) NewStandby() *Cluster {
	c.t.Helper()
	server, err := c.server.NewStandby()
	c.requireNoError(err)
	return newCluster(c.t, server)
}

func newCluster(t testing.TB, server *pgserver.Cluster) *Cluster {
	t.Helper()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("remove PostgreSQL: %v", err)
		}
	})
	return &Cluster{t: t, server: server}
}

// URL calls [pgserver.Cluster.URL].
func (c *Cluster) URL() string { return c.server.URL() }

// Address calls [pgserver.Cluster.Address].
func (c *Cluster) Address() string { return c.server.Address() }

// Kill calls [pgserver.Cluster.Kill].
func (c *Cluster) Kill() {
	c.t.Helper()
	c.requireNoError(c.server.Kill())
}

// Restart calls [pgserver.Cluster.Restart].
func (c *Cluster) Restart() {
	c.t.Helper()
	c.requireNoError(c.server.Restart())
}

// Pause calls [pgserver.Cluster.Pause].
func (c *Cluster) Pause() {
	c.t.Helper()
	c.requireNoError(c.server.Pause())
}

// Resume calls [pgserver.Cluster.Resume].
func (c *Cluster) Resume() {
	c.t.Helper()
	c.requireNoError(c.server.Resume())
}

// Promote calls [pgserver.Cluster.Promote].
func (c *Cluster) Promote() {
	c.t.Helper()
	c.requireNoError(c.server.Promote())
}

func (c *Cluster) requireNoError(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// NewRelay returns a relay to a target address, which is closed at the end of the test.
func NewRelay(t testing.TB, target string) *pgserver.Relay {
	t.Helper()
	relay, err := pgserver.NewRelay(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = relay.Close() })
	return relay
}

// NewPooler starts a PgBouncer for the server at an address, which is stopped at the end of the test.
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
