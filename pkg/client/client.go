// Package client is what a meeting controller speaks to its Global Controllers with: it registers, keeps the
// heartbeats at the pace that they dictate, finds its way back after every kind of trouble without coming at the same
// time as the rest of the fleet, and says goodbye.
package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/go-kit/log"
	"github.com/google/uuid"
)

// Client keeps one meeting controller known to its Global Controllers.
type Client struct {
	cfg     Config
	running atomic.Bool
}

// New checks the settings; it calls nobody.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if cfg.Incarnation == "" {
		cfg.Incarnation = uuid.NewString()
	}
	if cfg.Health == nil {
		cfg.Health = func() Health { return HealthHealthy }
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	if cfg.OnCall == nil {
		cfg.OnCall = func(Call) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = log.NewNopLogger()
	}
	if cfg.CallTimeout == 0 {
		cfg.CallTimeout = defaultCallTimeout
	}
	if cfg.FailoverAfter == 0 {
		cfg.FailoverAfter = defaultFailoverAfter
	}
	if cfg.Shutdown.Timeout == 0 {
		cfg.Shutdown.Timeout = defaultShutdownTimeout
	}
	return &Client{cfg: cfg}, nil
}

// Incarnation names this process to the Global Controllers.
func (c *Client) Incarnation() string { return c.cfg.Incarnation }

// Run registers and keeps the heartbeats until ctx ends. It then reports draining, waits for its meetings and
// deregisters, as [Shutdown] says, and returns nil; when the cause of ctx's end is [ErrAbandon] it returns nil at once.
// Before that it returns only when trying on is of no use: [ErrSuperseded], or a [*RegistrationError]. Nothing that it
// started runs any more when it has returned.
func (c *Client) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return errRunning
	}
	defer c.running.Store(false)
	connection := c.cfg.Connection
	if connection == nil {
		own, err := NewConnection(c.cfg.Addresses, c.cfg.TLS, c.cfg.DialOptions...)
		if err != nil {
			return err
		}
		defer func() { _ = own.Close() }()
		connection = own
	}
	calls := newGRPCTransport(&c.cfg, connection)
	defer calls.close()
	return newSession(&c.cfg, calls, rand.Float64).run(ctx)
}
