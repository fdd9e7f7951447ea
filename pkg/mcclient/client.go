package mcclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "darktower.example/global-controller/proto/darktower/v1"
)

const (
	// DefaultConnectTimeout limits the time until a connection is ready.
	DefaultConnectTimeout = 2 * time.Second
	// DefaultCallTimeout limits a call on a ready connection.
	DefaultCallTimeout = 2500 * time.Millisecond
	// maxConnections limits the open connections. The least recently used idle one is closed for a new one.
	maxConnections = 4096
	// maxCallsPerHost limits the calls in progress to one endpoint, so that a controller that hangs holds few goroutines.
	maxCallsPerHost = 64
	// idleTimeout is after how long an unused connection is closed.
	idleTimeout = 5 * time.Minute
	// maxResponse limits a response, in bytes.
	maxResponse = 64 << 10
)

// Config is what a [Client] works with. Hosts and Token are needed.
type Config struct {
	Hosts Hosts
	// Token returns the token of the Global Controller. It must be fast, for example cached.
	Token func(ctx context.Context) (string, error)
	// TLS is for https endpoints; nil trusts the system's authorities.
	TLS *tls.Config
	// ConnectTimeout and CallTimeout: 0 means [DefaultConnectTimeout] and [DefaultCallTimeout].
	ConnectTimeout time.Duration
	CallTimeout    time.Duration
	// Resolver is for tests; nil: the system's.
	Resolver resolver
	// Now is for tests; nil: time.Now.
	Now func() time.Time
}

// Client calls meeting controllers. Its methods are safe for concurrent use.
type Client struct {
	cfg Config

	mu       sync.Mutex
	isClosed bool
	peers    map[Endpoint]*peer
}

// peer is the connection to one endpoint.
type peer struct {
	conn     *grpc.ClientConn
	calls    int // in progress
	lastUsed time.Time
}

// New returns a client without connections.
func New(cfg Config) *Client {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = DefaultConnectTimeout
	}
	if cfg.CallTimeout == 0 {
		cfg.CallTimeout = DefaultCallTimeout
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{cfg: cfg, peers: make(map[Endpoint]*peer)}
}

// Outcome is what became of a request to accept a meeting.
type Outcome int

const (
	// OutcomeAccepted means that the controller runs the meeting.
	OutcomeAccepted Outcome = iota + 1
	// OutcomeRejected means that the controller refused; Reason says why.
	OutcomeRejected
	// OutcomeUnknown means that the request was sent and no response came, so the controller may run the meeting.
	OutcomeUnknown
	// OutcomeNotSent means that the controller got nothing.
	OutcomeNotSent
)

// AssignResult is the result of [Client.AssignMeeting].
type AssignResult struct {
	Outcome Outcome
	Reason  pb.RejectionReason // of OutcomeRejected
	Err     error              // of OutcomeUnknown and OutcomeNotSent
}

// AssignMeeting asks a controller, once, to accept a meeting. It never repeats a call: a controller that has the meeting already would
// destroy its media data.
func (c *Client) AssignMeeting(ctx context.Context, grpcEndpoint string, request *pb.AssignMeetingWithMhRequest) AssignResult {
	endpoint, err := c.cfg.Hosts.Check(grpcEndpoint)
	if err != nil {
		return AssignResult{Outcome: OutcomeNotSent, Err: err}
	}
	p, err := c.acquire(endpoint)
	if err != nil {
		return AssignResult{Outcome: OutcomeNotSent, Err: err}
	}
	defer c.release(p)

	if err := c.connect(ctx, p.conn); err != nil {
		return AssignResult{Outcome: OutcomeNotSent, Err: fmt.Errorf("connect to %s: %w", endpoint, err)}
	}
	token, err := c.cfg.Token(ctx)
	if err != nil {
		return AssignResult{Outcome: OutcomeNotSent, Err: fmt.Errorf("token for %s: %w", endpoint, err)}
	}

	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	response, err := pb.NewMeetingControllerServiceClient(p.conn).AssignMeetingWithMh(ctx, request)
	switch {
	case err != nil && isRefusal(err):
		return AssignResult{Outcome: OutcomeNotSent, Err: fmt.Errorf("ask %s: %w", endpoint, err)}
	case err != nil:
		return AssignResult{Outcome: OutcomeUnknown, Err: fmt.Errorf("ask %s: %w", endpoint, err)}
	case response.GetAccepted():
		return AssignResult{Outcome: OutcomeAccepted}
	default:
		return AssignResult{Outcome: OutcomeRejected, Reason: response.GetRejectionReason()}
	}
}

// isRefusal reports whether a controller refused the call itself, before it looked at the meeting.
func isRefusal(err error) bool {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// connect waits until the connection is ready, at most for the connect timeout. A call on a ready connection either reaches the peer or
// fails in a way that may have reached it.
func (c *Client) connect(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()

	conn.Connect()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure:
			return errors.New("connection failed")
		case connectivity.Shutdown:
			return errors.New("client is closed")
		case connectivity.Idle:
			conn.Connect()
		case connectivity.Connecting:
		}
		if !conn.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
}

var errClosed = errors.New("client is closed")

// acquire returns the peer of an endpoint, connected or not.
func (c *Client) acquire(endpoint Endpoint) (*peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return nil, errClosed
	}

	p := c.peers[endpoint]
	if p != nil && p.conn.GetState() == connectivity.TransientFailure && p.calls == 0 {
		// A new connection starts without the backoff of the failed one, and resolves the name again.
		c.remove(endpoint)
		p = nil
	}
	if p == nil {
		c.evict()
		conn, err := c.dial(endpoint)
		if err != nil {
			return nil, err
		}
		p = &peer{conn: conn}
		c.peers[endpoint] = p
	}
	if p.calls >= maxCallsPerHost {
		return nil, fmt.Errorf("%s has %d calls in progress", endpoint, p.calls)
	}
	p.calls++
	p.lastUsed = c.cfg.Now()
	return p, nil
}

func (c *Client) release(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.calls--
	p.lastUsed = c.cfg.Now()
}

// evict closes connections that were idle for long, and the least recently used one if there are too many. The lock is held.
func (c *Client) evict() {
	now := c.cfg.Now()
	var oldest Endpoint
	var found bool
	for endpoint, p := range c.peers {
		switch {
		case p.calls > 0:
		case now.Sub(p.lastUsed) > idleTimeout:
			c.remove(endpoint)
		case !found || p.lastUsed.Before(c.peers[oldest].lastUsed):
			oldest, found = endpoint, true
		}
	}
	if len(c.peers) >= maxConnections && found {
		c.remove(oldest)
	}
}

func (c *Client) remove(endpoint Endpoint) {
	_ = c.peers[endpoint].conn.Close()
	delete(c.peers, endpoint)
}

// dial returns a connection that resolves the endpoint through the host list each time it connects.
func (c *Client) dial(endpoint Endpoint) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if endpoint.TLS {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.cfg.TLS != nil {
			config = c.cfg.TLS.Clone()
		}
		config.ServerName = endpoint.Host
		transport = credentials.NewTLS(config)
	}

	// The passthrough resolver leaves the address to the dialer.
	return grpc.NewClient("passthrough:///"+endpoint.String(),
		grpc.WithTransportCredentials(transport),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.dialAllowed(ctx, endpoint) }),
		grpc.WithNoProxy(),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: c.cfg.ConnectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
	)
}

// dialAllowed connects to the first allowed address of the endpoint that accepts.
func (c *Client) dialAllowed(ctx context.Context, endpoint Endpoint) (net.Conn, error) {
	addresses, err := c.cfg.Hosts.resolve(ctx, c.cfg.Resolver, endpoint)
	if err != nil {
		return nil, err
	}

	var dialer net.Dialer
	var errs []error
	for _, address := range addresses {
		conn, err := dialer.DialContext(ctx, "tcp", address.String())
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Close closes all connections. Calls in progress fail.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isClosed = true
	for endpoint := range c.peers {
		c.remove(endpoint)
	}
}
