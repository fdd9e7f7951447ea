// Package health runs the background check that marks the controllers that have been silent for too long.
package health

import (
	"context"
	"errors"
	"sync"
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

// maxStaleLines bounds what is logged about one chunk of a sweep.
const maxStaleLines = 100

// beatTimeout bounds a beat: one that takes longer has failed to prove anything.
const beatTimeout = Tolerance

// Store is the storage that a checker needs.
type Store interface {
	service.ReplicaStore
	service.Sweeper
}

// Config is what a checker works with. Every field is needed.
type Config struct {
	Store   Store
	Replica service.Replica
	Policy  service.SweepPolicy
	// Vouches reports whether this replica accepts the heartbeats that it should accept, as far as a beat does not prove it.
	// While it returns false, the beats do not vouch and no sweep runs. Unless another replica vouches, that is an outage of
	// the Global Controller.
	Vouches    func() bool
	Heartbeats *Heartbeats
	// Observe receives the result of each pass of the sweep.
	Observe func(result service.SweepResult, err error)
	Logger  log.Logger
	// Now is the clock; nil stands for [time.Now].
	Now func() time.Time
}

// Checker beats and sweeps. [Checker.Run] does both on time; a simulation calls [Checker.Beat] and [Checker.Sweep] itself.
type Checker struct {
	cfg     Config
	beaten  atomic.Bool // A beat of this process has been committed.
	vouched atomic.Bool // The last beat vouched.
	store   outcome
	holding bool
}

// NewChecker returns a checker that has not beaten yet.
func NewChecker(cfg Config) *Checker {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Checker{cfg: cfg, store: outcome{now: cfg.Now}}
}

// StoreState returns [StateOK] while beats are committed, and otherwise why the last one was not.
func (c *Checker) StoreState() string { return c.store.state() }

// Run beats and sweeps until ctx ends, beginning at once. The two do not wait for each other.
func (c *Checker) Run(ctx context.Context) error {
	c.Beat(ctx)

	var both sync.WaitGroup
	both.Go(func() { c.repeatBeats(ctx) })
	both.Go(func() { c.repeatSweeps(ctx) })
	both.Wait()

	return nil
}

func (c *Checker) repeatBeats(ctx context.Context) {
	ticker := time.NewTicker(BeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.Beat(ctx)
		}
	}
}

func (c *Checker) repeatSweeps(ctx context.Context) {
	ticker := time.NewTicker(BeatInterval)
	defer ticker.Stop()

	// The sweep has a time of its own, so that it is not late by up to one beat.
	timer := time.NewTimer(0)
	defer timer.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-timer.C:
		}
		if next, isKnown := c.Sweep(ctx); isKnown {
			timer.Reset(next)
		}
	}
}

// Beat records once that heartbeats can be committed, and which could not be.
func (c *Checker) Beat(ctx context.Context) {
	c.cfg.Heartbeats.Judge()
	beat := service.Beat{
		Replica:             c.cfg.Replica,
		First:               !c.beaten.Load(),
		CanAcceptHeartbeats: c.cfg.Vouches(),
		Tolerance:           c.cfg.Policy.Tolerance,
		Failed:              c.cfg.Heartbeats.takeFailed(),
	}

	bounded, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	result, err := c.cfg.Store.Beat(bounded, beat)
	if err != nil {
		c.cfg.Heartbeats.returnFailed(beat.Failed)
		c.vouched.Store(false)
		if ctx.Err() == nil {
			c.store.setFailed(err)
			c.cfg.Observe(service.SweepResult{}, err)
			_ = level.Error(c.cfg.Logger).Log("msg", "check failed", "err", err)
		}
		return
	}

	c.store.setCommitted()
	c.beaten.Store(true)
	c.vouched.Store(beat.CanAcceptHeartbeats)
	switch {
	case !result.Gap:
	case result.Outage == 0:
		_ = level.Info(c.cfg.Logger).Log("msg", "no beat before this one; staleness marking suspended for one threshold")
	default:
		_ = level.Warn(c.cfg.Logger).Log(
			"msg", "gap in heartbeat commits; staleness marking suspended for one threshold",
			"outage", result.Outage,
		)
	}
}

// Sweep marks the controllers that are silent, if a sweep is due, chunk by chunk until none is left. It does nothing while
// this replica does not vouch. It returns how long from now the next sweep is due, and whether
// that is known.
func (c *Checker) Sweep(ctx context.Context) (next time.Duration, isKnown bool) {
	for c.vouched.Load() {
		result, err := c.sweepChunk(ctx)
		if ctx.Err() != nil {
			return 0, false
		}
		c.cfg.Observe(result, err)
		c.report(result, err)
		if err != nil {
			return 0, false
		}
		if !result.More {
			return max(result.NextIn, time.Millisecond), true
		}
	}
	return 0, false
}

func (c *Checker) sweepChunk(ctx context.Context) (service.SweepResult, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Policy.Interval)
	defer cancel()
	return c.cfg.Store.Sweep(ctx, c.cfg.Policy)
}

func (c *Checker) report(result service.SweepResult, err error) {
	if err != nil {
		_ = level.Error(c.cfg.Logger).Log("msg", "check failed", "err", err)
		return
	}
	if result.Hold != c.holding {
		c.holding = result.Hold
		_ = level.Info(c.cfg.Logger).Log("msg", "checker", "hold", c.holding)
	}
	for i, t := range result.Transitions {
		if i == maxStaleLines {
			// The history has them all. A line for each of 100,000 would take as long as the marks.
			_ = level.Warn(c.cfg.Logger).Log("msg", "more controllers are stale", "count", len(result.Transitions)-i)
			break
		}
		_ = level.Warn(c.cfg.Logger).Log("msg", "controller is stale", "controller_id", t.ControllerID, "region", t.Region,
			"from", t.From, "to", t.To, "silence", t.Silence, "reason", t.Reason)
	}
}

// outcome is how the latest beats ended.
type outcome struct {
	now func() time.Time

	mu          sync.Mutex
	committedAt time.Time
	reason      string
}

func (o *outcome) setCommitted() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.committedAt, o.reason = o.now(), ""
}

func (o *outcome) setFailed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reason = "down"
	// /ready is public: it shows the condition's name and not the error's text.
	var condition *service.ConditionError
	if errors.As(err, &condition) {
		o.reason = condition.Name
	}
}

// state forgives a failure that is followed by a commit within the tolerance.
func (o *outcome) state() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !o.committedAt.IsZero() && o.now().Sub(o.committedAt) <= Tolerance:
		return StateOK
	case o.reason != "":
		return o.reason
	case o.committedAt.IsZero():
		return "starting"
	}
	return "down"
}
