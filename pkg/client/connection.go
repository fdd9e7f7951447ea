package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// connectTimeout bounds an attempt to connect, so that an address that swallows everything does not hold up the next.
const connectTimeout = 5 * time.Second

// maxStreams is how many streams one connection carries. A Global Controller takes 1000 calls and streams at once on
// each; those clients that come later beat by calls, which need a place only while they last.
const maxStreams = 800

// Connection is one gRPC connection with fail-over among addresses, usable by many clients: up to 800 with streams, a
// few thousand without. It connects when the first of them calls, to the first address, and stays with one that works;
// who wants to spread clients over Global Controllers gives each the addresses in another order.
type Connection struct {
	addresses []string
	options   []grpc.DialOption

	mu      sync.Mutex
	closed  bool
	address int            // The index of the address that clients use, except those that left it by themselves.
	current []*link        // By address; nil: none yet.
	links   map[*link]bool // All that are open, those that were replaced included.
}

// sharedAddress stands for the address that the connection's clients have in common.
const sharedAddress = -1

// link is one gRPC connection to one address. It is replaced rather than mended: gRPC's own reconnection waits longer
// the longer an outage lasts, and knows nothing of the other addresses.
type link struct {
	conn *grpc.ClientConn
	// address is the index of the address that it leads to.
	address int
	// users are the calls and streams on it, and the connection itself while it is the current one of its address.
	users int
	// streams are those of the users that stay.
	streams int
	// noStream is true once the Global Controller there said that it does not know streams.
	noStream atomic.Bool
	// streamAgain is when to try a stream again after the Global Controller there had too many, in Unix nanoseconds.
	streamAgain atomic.Int64
	// heard is when something last came from there, in nanoseconds since the link was made.
	heard atomic.Int64
	// answered is when a call was last answered, in the same way.
	answered atomic.Int64
	made     time.Time
}

// NewConnection returns a connection to the first of the addresses that answers; tls is nil for plaintext. It is
// closed by whoever made it, after the clients that use it have ended. More options may follow, such as those that have a
// trace go out with the calls.
func NewConnection(addresses []string, tls *tls.Config, options ...grpc.DialOption) (*Connection, error) {
	return newConnection(addresses, tls, connectTimeout, options...)
}

func newConnection(addresses []string, tls *tls.Config, timeout time.Duration, more ...grpc.DialOption) (*Connection, error) {
	if err := validAddresses(addresses); err != nil {
		return nil, fmt.Errorf("connection: %w", err)
	}
	security := insecure.NewCredentials()
	if tls != nil {
		security = credentials.NewTLS(tls)
	}
	retries := backoff.DefaultConfig
	retries.MaxDelay = connectTimeout
	return &Connection{
		addresses: slices.Clone(addresses),
		current:   make([]*link, len(addresses)),
		links:     make(map[*link]bool),
		options: append([]grpc.DialOption{
			grpc.WithTransportCredentials(security),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: retries, MinConnectTimeout: timeout}),
			// A peer that is frozen is noticed also between heartbeats that lie far apart. While heartbeats come more often there
			// is no ping at all. The Global Controller allows one every 5 s.
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}),
			// How often a call is tried is decided here alone.
			grpc.WithDisableRetry(),
			grpc.WithDisableServiceConfig(),
		}, more...),
	}, nil
}

// Close ends all calls that are under way.
func (c *Connection) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	clear(c.current)
	for l := range c.links {
		_ = l.conn.Close() // It was closed already, which is as good.
	}
	clear(c.links)
	return nil
}

// acquire returns the current link to the address with that index, or to the shared one; release gives it back.
func (c *Connection) acquire(address int) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if address == sharedAddress {
		address = c.address
	}
	if c.current[address] == nil {
		if err := c.connect(address); err != nil {
			return nil, err
		}
	}
	l := c.current[address]
	l.users++
	return l, nil
}

// connect makes a link to the address with that index. The caller holds the lock.
func (c *Connection) connect(index int) error {
	address := c.addresses[index]
	l := &link{address: index, users: 1, made: time.Now()}
	conn, err := grpc.NewClient(target(address), append(slices.Clone(c.options), grpc.WithStatsHandler(ear{l}))...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	l.conn, c.current[index] = conn, l
	c.links[l] = true
	return nil
}

// target spares what is an IP address the resolver.
func target(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host) != nil {
		return "passthrough:///" + address
	}
	return "dns:///" + address
}

// holdStream counts a stream as one more user of a link that is in use, unless it has as many as it can bear.
func (c *Connection) holdStream(l *link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.streams >= maxStreams {
		return false
	}
	l.streams++
	l.users++
	return true
}

func (c *Connection) releaseStream(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.streams--
	c.drop(l)
}

func (c *Connection) release(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(l)
}

// drop closes a link after its last user. The caller holds the lock.
func (c *Connection) drop(l *link) {
	l.users--
	if l.users == 0 && c.links[l] {
		delete(c.links, l)
		_ = l.conn.Close() // It was closed already, which is as good.
	}
}

// replace has the calls that follow use a fresh link, and those of the shared address the next address; it reports whether
// it did. Of many clients that find the same link broken only the first replaces it. Calls that still are under way on the
// old link are left to end.
func (c *Connection) replace(l *link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current[l.address] != l {
		return false
	}
	if c.address == l.address {
		c.address = c.after(l.address)
	}
	c.current[l.address] = nil // The next call connects.
	c.drop(l)
	return true
}

// after is the index of the address that follows.
func (c *Connection) after(address int) int { return (address + 1) % len(c.addresses) }

func (c *Connection) several() bool { return len(c.addresses) > 1 }

// silentSince reports whether nothing came over the link since then.
func (l *link) silentSince(then time.Time) bool {
	return time.Duration(l.heard.Load()) <= then.Sub(l.made)
}

// markAnswered notes that a call was answered.
func (l *link) markAnswered() { l.answered.Store(int64(time.Since(l.made))) }

// answeredSince reports whether a call of any client was answered over the link since then.
func (l *link) answeredSince(then time.Time) bool {
	return time.Duration(l.answered.Load()) > then.Sub(l.made)
}

// heardKey finds in a call's context the flag that is set once the Global Controller has ended the call itself.
type heardKey struct{}

// withEar returns a context for a call, and what tells afterwards whether the peer itself ended it: gRPC gives the same
// code to a peer that says it is unavailable and to one that is not there.
func withEar(ctx context.Context) (context.Context, *atomic.Bool) {
	heard := new(atomic.Bool)
	return context.WithValue(ctx, heardKey{}, heard), heard
}
