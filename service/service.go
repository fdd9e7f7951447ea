package service

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// Service is what the Global Controller does. Each method validates its input first and then changes nothing
// when that fails ([InvalidError]). Other errors: [ErrNotRegistered], [ErrUnavailable], the context's.
type Service interface {
	// RegisterMC makes a controller known, or known again with new limits, and says how often it is to report.
	RegisterMC(ctx context.Context, r Registration) (Registered, error)
	// FastHeartbeat stores a controller's load and state. What it acknowledges is committed.
	FastHeartbeat(ctx context.Context, h FastHeartbeat) (Acknowledged, error)
	// ComprehensiveHeartbeat does the same and stores the machine's CPU and memory as well.
	ComprehensiveHeartbeat(ctx context.Context, h ComprehensiveHeartbeat) (Acknowledged, error)
	// StreamHeartbeats admits a stream of heartbeats, each of which is then a call of its own.
	StreamHeartbeats(ctx context.Context, s HeartbeatStream) (HeartbeatStream, error)
	// NotifyMeetingEnded takes note that a meeting is over.
	NotifyMeetingEnded(ctx context.Context, m MeetingEnded) (Acknowledged, error)
	// Drain sets an operator's intent: the controller is draining, whatever it reports, until Undrain.
	// [UnsafeError] when its region could not bear that and the order does not force it.
	Drain(ctx context.Context, order DrainOrder) (Drained, error)
	// Undrain ends an operator's drain. What the controller reported last counts again.
	Undrain(ctx context.Context, order UndrainOrder) (Controller, error)
	// Deregister takes a controller out of the fleet: any, for an operator; itself, for a controller that names its incarnation.
	Deregister(ctx context.Context, d Deregistration) (Deregistered, error)
	// ListTransitions returns a page of the history.
	ListTransitions(ctx context.Context, q TransitionQuery) (TransitionPage, error)
	// ListRegions adds up the fleet by region.
	ListRegions(ctx context.Context, q RegionQuery) (Regions, error)
	// ListReplicas lists the replicas over this store, and what the store is like.
	ListReplicas(ctx context.Context, q ReplicaQuery) (ReplicaList, error)
	// Watch tells what changes, from a snapshot or an earlier event on.
	Watch(ctx context.Context, q WatchQuery) (Watch, error)
	// GetController returns one controller.
	GetController(ctx context.Context, q ControllerQuery) (Controller, error)
	// ListControllers returns a page of the fleet in a stable order.
	ListControllers(ctx context.Context, q ListQuery) (ControllerPage, error)
}

// Observer is told what happened. Its methods must not block. It serves the metrics and the health checker, which
// must not take trouble of our own for the silence of a controller.
type Observer interface {
	// ObserveTransition reports a committed change of a controller's public state.
	ObserveTransition(t Transition)
	// ObserveCommit reports that a controller's heartbeat was stored.
	ObserveCommit(controllerID string)
	// ObserveFailure reports that a controller's heartbeat could not be stored for a server-side reason.
	ObserveFailure(controllerID string)
	// ObserveSuperseded reports that a process called which another has taken the place of: two go by one id.
	ObserveSuperseded()
}

// Intervals are the heartbeat intervals that controllers are told at registration.
type Intervals struct{ Fast, Comprehensive time.Duration }

// New returns the one implementation of [Service]. Without a watcher nothing can be watched.
func New(store Store, intervals Intervals, observer Observer, watcher Watcher) Service {
	return &controllers{store: store, intervals: intervals, observer: observer, watcher: watcher, spreader: NewLoadSpreader(intervals.Fast, time.Now)}
}

type controllers struct {
	store     Store
	intervals Intervals
	observer  Observer
	watcher   Watcher // nil: nobody
	spreader  *LoadSpreader
}

type callerKey struct{}

// WithCaller returns a context that carries who is calling, for the record of who changed what.
func WithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerFrom returns who is calling; the zero Caller when nobody was authenticated.
func CallerFrom(ctx context.Context) Caller {
	caller, _ := ctx.Value(callerKey{}).(Caller)
	return caller
}

func (c *controllers) RegisterMC(ctx context.Context, r Registration) (Registered, error) {
	if err := r.Validate(); err != nil {
		return Registered{}, err
	}
	result, err := c.store.Register(ctx, r, CallerFrom(ctx).Subject)
	if err != nil {
		return Registered{}, fmt.Errorf("register controller %s: %w", r.ControllerID, c.handleStoreError(r.ControllerID, err))
	}
	c.changed(result.Transition)
	return Registered{
		FastInterval: c.intervals.Fast, ComprehensiveInterval: c.intervals.Comprehensive, Intent: result.Intent, RetryAfter: c.spreader.DelayAfterRegistration(),
		Created: result.Transition != nil && result.Transition.From == "",
	}, nil
}

// handleStoreError counts a superseded process, and tells who came in vain when to try again.
func (c *controllers) handleStoreError(controllerID string, err error) error {
	switch {
	case errors.Is(err, ErrSuperseded):
		c.observer.ObserveSuperseded()
		c.store.RecordConflict(controllerID)
	case errors.Is(err, ErrUnavailable):
		return &RetryError{After: c.spreader.DelayAfterFailure(), Err: err}
	}
	return err
}

func (c *controllers) FastHeartbeat(ctx context.Context, h FastHeartbeat) (Acknowledged, error) {
	if err := h.Validate(); err != nil {
		return Acknowledged{}, err
	}
	return c.heartbeat(ctx, h, nil)
}

func (c *controllers) ComprehensiveHeartbeat(ctx context.Context, h ComprehensiveHeartbeat) (Acknowledged, error) {
	if err := h.Validate(); err != nil {
		return Acknowledged{}, err
	}
	return c.heartbeat(ctx, h.FastHeartbeat, &Usage{CPUPercent: h.CPUUsagePercent, MemoryPercent: h.MemoryUsagePercent})
}

// minFailureWait is how long a heartbeat must have waited for the store before a timeout or a cancelled call counts as a
// server-side failure. A working store takes milliseconds.
const minFailureWait = time.Second

func (c *controllers) heartbeat(ctx context.Context, h FastHeartbeat, usage *Usage) (Acknowledged, error) {
	// A heartbeat that is not stored counts as a server-side failure, a panic included. Neither a controller that is not
	// registered nor a caller with too short a deadline counts.
	failed, began := true, time.Now()
	defer func() {
		if failed {
			c.observer.ObserveFailure(h.ControllerID)
		}
	}()
	result, err := c.store.Heartbeat(ctx, HeartbeatWrite{
		ControllerID:        h.ControllerID,
		CurrentMeetings:     h.Capacity.CurrentMeetings,
		CurrentParticipants: h.Capacity.CurrentParticipants,
		Reported:            h.Health,
		Usage:               usage,
		Actor:               CallerFrom(ctx).Subject,
		Incarnation:         h.Incarnation,
	})
	failed = err != nil && !errors.Is(err, ErrNotRegistered) && !errors.Is(err, ErrSuperseded)
	if failed && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		failed = time.Since(began) >= minFailureWait
	}
	if err != nil {
		return Acknowledged{}, fmt.Errorf("store heartbeat of controller %s: %w", h.ControllerID, c.handleStoreError(h.ControllerID, err))
	}
	c.observer.ObserveCommit(h.ControllerID)
	c.changed(result.Transition)
	return Acknowledged{At: result.At, Intent: result.Intent, Intervals: c.intervals, RetryAfter: c.spreader.DelayAfterHeartbeat()}, nil
}

// StreamHeartbeats admits everybody who may send heartbeats at all.
func (c *controllers) StreamHeartbeats(ctx context.Context, _ HeartbeatStream) (HeartbeatStream, error) {
	return HeartbeatStream{Subject: CallerFrom(ctx).Subject}, nil
}

// NotifyMeetingEnded acknowledges without a write: this service places no meetings yet, so it holds none that
// could end.
func (c *controllers) NotifyMeetingEnded(_ context.Context, m MeetingEnded) (Acknowledged, error) {
	return Acknowledged{}, m.Validate()
}

func (c *controllers) GetController(ctx context.Context, q ControllerQuery) (Controller, error) {
	if err := q.Validate(); err != nil {
		return Controller{}, err
	}
	controller, err := c.store.Controller(ctx, q.ControllerID)
	if err != nil {
		return Controller{}, fmt.Errorf("get controller %s: %w", q.ControllerID, err)
	}
	return controller, nil
}

func (c *controllers) ListControllers(ctx context.Context, q ListQuery) (ControllerPage, error) {
	if err := q.Validate(); err != nil {
		return ControllerPage{}, err
	}
	after, err := decodePageToken(q.PageToken)
	if err != nil {
		return ControllerPage{}, err
	}
	size := int(q.PageSize)
	if size == 0 {
		size = DefaultPageSize
	}
	// One more than asked for tells whether another page follows.
	found, err := c.store.Controllers(ctx, ControllerFilter{Region: q.Region, Health: q.Health, AfterID: after, Limit: size + 1})
	if err != nil {
		return ControllerPage{}, fmt.Errorf("list controllers: %w", err)
	}
	if len(found) <= size {
		return ControllerPage{Controllers: found}, nil
	}
	found = found[:size]
	return ControllerPage{Controllers: found, NextPageToken: encodePageToken(found[size-1].ControllerID)}, nil
}

func (c *controllers) changed(t *Transition) {
	if t != nil {
		c.observer.ObserveTransition(*t)
	}
}

// pageTokenVersion lets a later form of page tokens be told from this one.
const pageTokenVersion = "1:"

func encodePageToken(lastID string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(pageTokenVersion + lastID))
}

func decodePageToken(token string) (afterID string, err error) {
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < len(pageTokenVersion) || string(raw[:len(pageTokenVersion)]) != pageTokenVersion ||
		!ValidName(string(raw[len(pageTokenVersion):]), maxIDBytes) {
		return "", Invalid("page_token is not one that this service gave out")
	}
	return string(raw[len(pageTokenVersion):]), nil
}
