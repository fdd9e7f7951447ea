package client

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// connectTimeout limits an attempt to connect, so that an address that drops all packets does not delay the next address.
const connectTimeout = 5 * time.Second

// maxStreams is how many streams one connection carries. A Global Controller accepts 1000 calls and streams at once on
// each connection. Clients beyond this number send unary calls, which occupy a slot only while they last.
const maxStreams = 800

// Connection is one gRPC connection with failover among addresses. Many clients can share it: up to 800 with streams, a
// few thousand without. It connects to the first address at the first call, and stays with an address that works. To
// spread clients over Global Controllers, give each client its own connection with the addresses in another order.
type Connection struct {
	addresses []string
	options   []grpc.DialOption

	mu       sync.Mutex
	isClosed bool
	// sharedIndex is the index of the address that clients use, except those that moved to another one alone.
	sharedIndex int
	// currentLinks has the link that new calls use, by index of the address; nil: not connected.
	currentLinks []*link
	// openLinks has all open links, including those that were replaced and still have calls.
	openLinks map[*link]bool
}

// sharedAddress selects the address that the clients of a connection have in common.
const sharedAddress = -1

// NewConnection returns a connection to the first of the addresses that works; tlsConfig is nil for plaintext. The caller
// closes it after the clients that use it have ended. The options are added to those of the connection, for example
// interceptors that propagate traces.
func NewConnection(addresses []string, tlsConfig *tls.Config, options ...grpc.DialOption) (*Connection, error) {
	return newConnection(addresses, tlsConfig, connectTimeout, options...)
}

func newConnection(addresses []string, tlsConfig *tls.Config, timeout time.Duration, more ...grpc.DialOption) (*Connection, error) {
	if err := validateAddresses(addresses); err != nil {
		return nil, fmt.Errorf("connection: %w", err)
	}

	transportCredentials := insecure.NewCredentials()
	if tlsConfig != nil {
		transportCredentials = credentials.NewTLS(tlsConfig)
	}
	reconnectBackoff := backoff.DefaultConfig
	reconnectBackoff.MaxDelay = connectTimeout

	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transportCredentials),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnectBackoff, MinConnectTimeout: timeout}),
		// Keepalive detects a frozen peer between heartbeats that are far apart. If heartbeats are more frequent than this, no
		// ping is sent. The Global Controller allows one ping every 5 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}),
		// This package alone decides how often a call is retried.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	}

	return &Connection{
		addresses:    slices.Clone(addresses),
		currentLinks: make([]*link, len(addresses)),
		openLinks:    make(map[*link]bool),
		options:      append(options, more...),
	}, nil
}

// Close ends all calls that are under way.
func (c *Connection) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.isClosed = true
	clear(c.currentLinks)
	for l := range c.openLinks {
		_ = l.conn.Close() // The only error is that it is closed already.
	}
	clear(c.openLinks)
	return nil
}

// acquire returns the current link to the address with that index, or to the shared address, and counts a user of it. The
// caller calls release afterwards.
func (c *Connection) acquire(index int) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.isClosed {
		return nil, errClosed
	}
	if index == sharedAddress {
		index = c.sharedIndex
	}
	if c.currentLinks[index] == nil {
		if err := c.openLinkLocked(index); err != nil {
			return nil, err
		}
	}

	l := c.currentLinks[index]
	l.users++
	return l, nil
}

// openLinkLocked makes a link to the address with that index. The caller holds the lock.
func (c *Connection) openLinkLocked(index int) error {
	address := c.addresses[index]
	l := &link{addressIndex: index, users: 1, openedAt: time.Now()}
	options := append(slices.Clone(c.options), grpc.WithStatsHandler(activityHandler{l}))

	conn, err := grpc.NewClient(dialTarget(address), options...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	l.conn = conn
	c.currentLinks[index] = l
	c.openLinks[l] = true
	return nil
}

// dialTarget returns the gRPC target of an address. An IP address needs no resolver.
func dialTarget(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host) != nil {
		return "passthrough:///" + address
	}
	return "dns:///" + address
}

// acquireStream counts a stream as one more user of a link that is in use. It returns false if the link has maxStreams.
func (c *Connection) acquireStream(l *link) bool {
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
	c.releaseLocked(l)
}

func (c *Connection) release(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.releaseLocked(l)
}

// releaseLocked removes one user of a link and closes the link after the last one. The caller holds the lock.
func (c *Connection) releaseLocked(l *link) {
	l.users--
	if l.users == 0 && c.openLinks[l] {
		delete(c.openLinks, l)
		_ = l.conn.Close() // The only error is that it is closed already.
	}
}

// replaceLink makes later calls use a new link, and those of the shared address the next address. It reports whether it
// replaced the link: if many clients find the same link broken, only the first call replaces it. Calls that are under way
// on the old link are not cancelled.
func (c *Connection) replaceLink(l *link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.currentLinks[l.addressIndex] != l {
		return false
	}
	if c.sharedIndex == l.addressIndex {
		c.sharedIndex = c.nextAddress(l.addressIndex)
	}
	c.currentLinks[l.addressIndex] = nil // The next call connects.
	c.releaseLocked(l)
	return true
}

// nextAddress returns the index of the address after the one with that index.
func (c *Connection) nextAddress(index int) int { return (index + 1) % len(c.addresses) }

func (c *Connection) hasSeveralAddresses() bool { return len(c.addresses) > 1 }
