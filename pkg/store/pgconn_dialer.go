package store

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// dialer opens connections with a timeout on each read and write. The driver sets no read deadline. Without one a statement
// would wait forever for a server that accepts it and never responds. Such a server ignores cancel requests, too.
type dialer struct {
	timeout time.Duration
	// handshake is nil where nothing else limits the making of the connection.
	handshake *handshake
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var plain net.Dialer
	inner, err := plain.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}

	conn := &timeoutConn{Conn: inner, timeout: d.timeout}
	d.handshake.track(conn)
	return conn, nil
}

// Dial implements [pq.Dialer], which prefers DialContext.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout implements [pq.Dialer], which prefers DialContext.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

var (
	_ pq.Dialer        = dialer{}
	_ pq.DialerContext = dialer{}
)

// timeoutConn is a connection whose reads and writes end after the timeout, or at the deadline that the driver sets
// while it makes the connection.
type timeoutConn struct {
	net.Conn
	timeout  time.Duration
	deadline atomic.Int64 // in nanoseconds since 1970, 0 for none
}

// SetDeadline implements [net.Conn].
func (c *timeoutConn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		c.deadline.Store(0)
	} else {
		c.deadline.Store(t.UnixNano())
	}
	return c.Conn.SetDeadline(t)
}

// nextDeadline returns the latest end of a read or write that begins now.
func (c *timeoutConn) nextDeadline() time.Time {
	end := time.Now().Add(c.timeout)
	if deadline := c.deadline.Load(); deadline != 0 && deadline < end.UnixNano() {
		return time.Unix(0, deadline)
	}
	return end
}

// Read implements [net.Conn].
func (c *timeoutConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(c.nextDeadline()); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write implements [net.Conn].
func (c *timeoutConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(c.nextDeadline()); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
