// Package client is the SDK for meeting controllers. A [Client] registers one controller with its Global Controllers and
// sends heartbeats at the intervals that they set. It gets and renews tokens, and fails over between addresses. After an
// outage it reconnects at a random time within the heartbeat interval, so that a fleet does not return in a burst. At
// shutdown it reports draining, waits for meetings and deregisters. docs/client.md is the guide.
//
// # Stability
//
// This package is the public Go API of the project; the generated packages below proto are its public wire API. All
// other packages of the module may change with any release. From the first release on, a minor release only adds to the
// following:
//
//   - the exported identifiers of this package and what their comments guarantee;
//   - the texts of [EventKind.String];
//   - the names and labels of [Metrics].
//
// New fields may be added to [Config], [TokenConfig], [Shutdown], [Load], [Call] and [Event]: use keyed literals. New
// kinds of events may be added: ignore the unknown ones. The texts of errors and log lines may change: compare errors
// with errors.Is and errors.As.
package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/go-kit/log"
	"github.com/google/uuid"
)

// Client keeps one meeting controller registered with its Global Controllers.
type Client struct {
	cfg       Config
	isRunning atomic.Bool
}

// New validates the configuration and returns a client. It makes no call.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}

	cfg.setDefaults()
	return &Client{cfg: cfg}, nil
}

func (c *Config) setDefaults() {
	if c.Incarnation == "" {
		c.Incarnation = uuid.NewString()
	}
	if c.Health == nil {
		c.Health = func() Health { return HealthHealthy }
	}

	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
	if c.OnCall == nil {
		c.OnCall = func(Call) {}
	}
	if c.Logger == nil {
		c.Logger = log.NewNopLogger()
	}

	if c.CallTimeout == 0 {
		c.CallTimeout = defaultCallTimeout
	}
	if c.FailoverAfter == 0 {
		c.FailoverAfter = defaultFailoverAfter
	}
	if c.Shutdown.Timeout == 0 {
		c.Shutdown.Timeout = defaultShutdownTimeout
	}
}

// Incarnation returns the id of this process, which registrations and heartbeats carry.
func (c *Client) Incarnation() string { return c.cfg.Incarnation }

// Run registers the controller and sends heartbeats until ctx ends. It then shuts down as [Shutdown] says and returns nil.
// If the cause of ctx's end is [ErrAbandon], it returns nil at once. While ctx lasts it retries every failure, except two
// that it returns because a retry is of no use: [ErrSuperseded] and a [*RegistrationError]. When Run returns, none of its
// goroutines runs any more. Only one call of Run may be active at a time.
func (c *Client) Run(ctx context.Context) error {
	if !c.isRunning.CompareAndSwap(false, true) {
		return errRunning
	}
	defer c.isRunning.Store(false)

	connection := c.cfg.Connection
	if connection == nil {
		own, err := NewConnection(c.cfg.Addresses, c.cfg.TLS, c.cfg.DialOptions...)
		if err != nil {
			return err
		}
		defer func() { _ = own.Close() }()
		connection = own
	}

	transport := newGRPCTransport(&c.cfg, connection)
	defer transport.close()
	return newRegistrationLoop(&c.cfg, transport, rand.Float64).run(ctx)
}
