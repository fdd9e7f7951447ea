// Package health runs the background check that marks controllers stale, and judges whether this replica can accept heartbeats.
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

const (
	// BeatInterval is the time between two beats. A beat is a write by which a replica records that it can commit heartbeats.
	BeatInterval = time.Second
	// Tolerance is the longest time between two vouching beats of any replicas that does not count as an outage of the Global Controller.
	Tolerance = 2500 * time.Millisecond
)

// maxStaleLines limits the log lines for one chunk of a sweep.
const maxStaleLines = 100

// beatTimeout limits the duration of a beat. A beat that takes longer proves nothing about the store.
const beatTimeout = Tolerance

// Store is the storage that a [Checker] uses.
type Store interface {
	service.ReplicaStore
	service.Sweeper
}

// Config configures a [Checker]. Every field but Now is required.
type Config struct {
	Store   Store
	Replica service.Replica
	Policy  service.SweepPolicy
	// CanVouch reports whether the conditions for accepting heartbeats hold: [Serviceability.CanVouch]. While it returns false, the beats
	// do not vouch for the service ([service.Beat]) and no sweep runs. A time without any vouching beat is an outage.
	CanVouch   func() bool
	Heartbeats *HeartbeatMonitor
	// ObserveSweep receives the result of each chunk of a sweep.
	ObserveSweep func(result service.SweepResult, err error)
	// ObserveBeatFailure receives the error of each failed beat.
	ObserveBeatFailure func(err error)
	Logger             log.Logger
	// Now is the clock; nil stands for [time.Now].
	Now func() time.Time
}

// Checker beats and sweeps. [Checker.Run] does both on schedule; the model-based test calls [Checker.Beat] and [Checker.Sweep].
type Checker struct {
	cfg        Config
	hasBeaten  atomic.Bool // A beat of this process was committed.
	hasVouched atomic.Bool // The last beat was committed and vouched for the service.
	lastBeat   beatOutcome
	isOnHold   bool // The last sweep marked no controller because of a recent outage.
}

// NewChecker returns a checker that has not sent a beat yet.
func NewChecker(cfg Config) *Checker {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Checker{cfg: cfg, lastBeat: beatOutcome{now: cfg.Now}}
}

// StoreState returns [StateOK] while beats are committed, and otherwise the reason why the last beat failed.
func (c *Checker) StoreState() string { return c.lastBeat.state() }

// Run beats and sweeps until ctx ends. Both start at once and run independently of each other.
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

	// Sweeps have their own timer: with the ticker alone a sweep would be late by up to one beat interval.
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

// Beat records once that heartbeats can be committed, and which controllers' heartbeats could not be.
func (c *Checker) Beat(ctx context.Context) {
	c.cfg.Heartbeats.Evaluate()

	beat := service.Beat{
		Replica:   c.cfg.Replica,
		First:     !c.hasBeaten.Load(),
		Vouches:   c.cfg.CanVouch(),
		Tolerance: c.cfg.Policy.Tolerance,
		Failed:    c.cfg.Heartbeats.takeFailed(),
	}

	beatCtx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	result, err := c.cfg.Store.Beat(beatCtx, beat)
	if err != nil {
		c.cfg.Heartbeats.returnFailed(beat.Failed)
		c.hasVouched.Store(false)
		if ctx.Err() == nil {
			c.lastBeat.setFailed(err)
			c.cfg.ObserveBeatFailure(err)
			_ = level.Error(c.cfg.Logger).Log("msg", "beat failed", "err", err)
		}
		return
	}

	c.lastBeat.setCommitted()
	c.hasBeaten.Store(true)
	c.hasVouched.Store(beat.Vouches)
	c.logGap(result)
}

func (c *Checker) logGap(result service.BeatResult) {
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

// Sweep runs a sweep if one is due: it marks stale controllers chunk by chunk until none is left. While this replica does not
// vouch for the service, Sweep does nothing. It returns the time until the next sweep, and reports whether that time is known.
func (c *Checker) Sweep(ctx context.Context) (next time.Duration, isKnown bool) {
	for c.hasVouched.Load() {
		result, err := c.sweepChunk(ctx)
		if ctx.Err() != nil {
			return 0, false
		}

		c.cfg.ObserveSweep(result, err)
		c.logResult(result, err)
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

func (c *Checker) logResult(result service.SweepResult, err error) {
	if err != nil {
		_ = level.Error(c.cfg.Logger).Log("msg", "sweep failed", "err", err)
		return
	}

	if result.Hold != c.isOnHold {
		c.isOnHold = result.Hold
		msg := "staleness marking resumed"
		if c.isOnHold {
			msg = "staleness marking is suspended"
		}
		_ = level.Info(c.cfg.Logger).Log("msg", msg, "hold", c.isOnHold)
	}

	for i, t := range result.Transitions {
		if i == maxStaleLines {
			// The history has all transitions. Logging 100,000 lines would take as long as marking the controllers.
			_ = level.Warn(c.cfg.Logger).Log("msg", "more controllers are stale", "count", len(result.Transitions)-i)
			break
		}
		_ = level.Warn(c.cfg.Logger).Log(
			"msg", "controller is stale",
			"controller_id", t.ControllerID,
			"region", t.Region,
			"from", t.From,
			"to", t.To,
			"silence", t.Silence,
			"reason", t.Reason,
		)
	}
}

// beatOutcome records how the latest beats ended.
type beatOutcome struct {
	now func() time.Time

	mu          sync.Mutex
	committedAt time.Time
	reason      string
}

func (o *beatOutcome) setCommitted() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.committedAt, o.reason = o.now(), ""
}

func (o *beatOutcome) setFailed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()

	o.reason = "down"
	// /ready is public, so it shows the name of the condition and not the error's text.
	var condition *service.ConditionError
	if errors.As(err, &condition) {
		o.reason = condition.Name
	}
}

// state returns [StateOK] if a beat was committed within the tolerance, even if a later one failed.
func (o *beatOutcome) state() string {
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
