// Package health runs the background check that marks the controllers which fell silent.
package health

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"darktower.example/global-controller/service"
)

// How often a replica records that heartbeats can be committed, and how far apart two records may lie before the time
// between them counts as an outage of our own.
const (
	BeatInterval = time.Second
	Tolerance    = 2500 * time.Millisecond
)

// failureMemory is how long a failed heartbeat speaks against this replica when none has been committed since: long
// enough for the next one to come, at the usual interval of 10 s, and bounded, because it may never come.
const failureMemory = 10 * time.Second

// Pulse knows whether this replica can commit the heartbeats that it is sent. It is told by the service and asked by
// the checker. Its zero value is ready to use.
type Pulse struct {
	// Now is the clock; nil stands for time.Now.
	Now        func() time.Time
	committed  atomic.Bool
	lastFailed atomic.Int64 // Unix nanoseconds, 0 for never or forgiven
}

// HeartbeatCommitted notes that a heartbeat reached the store.
func (p *Pulse) HeartbeatCommitted() {
	// Looking first spares the busy path a write that all cores would have to hear of.
	if !p.committed.Load() {
		p.committed.Store(true)
	}
}

// HeartbeatFailed notes that the store could not take a heartbeat.
func (p *Pulse) HeartbeatFailed() { p.lastFailed.Store(p.now().UnixNano()) }

func (p *Pulse) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

// Beating tells whether heartbeats can be committed, as far as is known: one was since the last call, or none has
// failed lately.
func (p *Pulse) Beating() bool {
	if p.committed.Swap(false) {
		p.lastFailed.Store(0)
		return true
	}
	return p.now().Sub(time.Unix(0, p.lastFailed.Load())) > failureMemory
}

// Config says what a checker works with. Every field is needed.
type Config struct {
	Store  service.Sweeper
	Policy service.SweepPolicy
	// Serviceable tells whether this replica can take heartbeats at all: it has a key to verify them with, and could
	// store those that came. While it cannot, its ticks are left out, and what follows in the store is an outage of
	// our own unless another replica ticks.
	Serviceable func() bool
	// Observe is told of each tick that ended.
	Observe func(result service.SweepResult, err error)
	Logger  log.Logger
}

// Run ticks until ctx ends. A tick that fails is reported and tried again.
func Run(ctx context.Context, cfg Config) error {
	ticker := time.NewTicker(BeatInterval)
	defer ticker.Stop()
	sweep := time.NewTimer(0)
	defer sweep.Stop()
	checker := Checker{Config: cfg}
	for {
		if next, known := checker.Pass(ctx); known {
			// The sweep has a time of its own, so that it is not late by up to one beat.
			sweep.Reset(next)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-sweep.C:
		}
	}
}

// Checker does what [Run] does, without its clock: a simulation has one of its own.
type Checker struct {
	Config
	holding bool
}

// Pass ticks once, unless nothing can be served now. It returns how long from now the next sweep is due, where that is
// known.
func (c *Checker) Pass(ctx context.Context) (next time.Duration, known bool) {
	if !c.Serviceable() {
		return 0, false
	}
	result, err := tick(ctx, c.Config)
	if ctx.Err() != nil {
		return 0, false
	}
	c.Observe(result, err)
	report(c.Logger, result, err)
	if err != nil {
		return 0, false
	}
	if result.Hold != c.holding {
		c.holding = result.Hold
		_ = level.Info(c.Logger).Log("msg", "checker", "hold", c.holding)
	}
	return max(result.NextIn, time.Millisecond), true
}

func tick(ctx context.Context, cfg Config) (service.SweepResult, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Policy.Interval)
	defer cancel()
	return cfg.Store.Tick(ctx, cfg.Policy)
}

func report(logger log.Logger, result service.SweepResult, err error) {
	if err != nil {
		_ = level.Error(logger).Log("msg", "check failed", "err", err)
		return
	}
	if result.Gap {
		_ = level.Warn(logger).Log("msg", "heartbeats could not be committed for a while; nobody is called stale until a full threshold has passed")
	}
	for _, t := range result.Transitions {
		_ = level.Warn(logger).Log("msg", "controller is stale", "controller_id", t.ControllerID, "region", t.Region, "from", t.From, "to", t.To, "silence", t.Silence, "reason", t.Reason)
	}
}
