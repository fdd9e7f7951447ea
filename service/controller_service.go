package service

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// minFailureWait is how long a heartbeat must have waited for the store before a timeout or a cancelled call counts as a
// server-side failure. A working store takes milliseconds.
const minFailureWait = time.Second

func (c *globalController) RegisterMC(ctx context.Context, r Registration) (RegistrationResponse, error) {
	if err := r.Validate(); err != nil {
		return RegistrationResponse{}, err
	}

	result, err := c.store.Register(ctx, r, CallerFrom(ctx).Subject)
	if err != nil {
		return RegistrationResponse{}, fmt.Errorf("register controller %s: %w", r.ControllerID, c.handleStoreError(r.ControllerID, err))
	}
	c.observeTransition(result.Transition)

	return RegistrationResponse{
		FastInterval:          c.intervals.Fast,
		ComprehensiveInterval: c.intervals.Comprehensive,
		Intent:                result.Intent,
		RetryAfter:            c.spreader.DelayAfterRegistration(),
		Created:               result.Transition != nil && result.Transition.From == "",
	}, nil
}

func (c *globalController) FastHeartbeat(ctx context.Context, h FastHeartbeat) (Acknowledgement, error) {
	if err := h.Validate(); err != nil {
		return Acknowledgement{}, err
	}
	return c.storeHeartbeat(ctx, h, nil)
}

func (c *globalController) ComprehensiveHeartbeat(ctx context.Context, h ComprehensiveHeartbeat) (Acknowledgement, error) {
	if err := h.Validate(); err != nil {
		return Acknowledgement{}, err
	}
	return c.storeHeartbeat(ctx, h.FastHeartbeat, &Usage{CPUPercent: h.CPUUsagePercent, MemoryPercent: h.MemoryUsagePercent})
}

// storeHeartbeat stores a validated heartbeat. usage is nil for a fast one.
func (c *globalController) storeHeartbeat(ctx context.Context, h FastHeartbeat, usage *Usage) (Acknowledgement, error) {
	// A heartbeat that is not stored is a server-side failure, also after a panic. A controller that is not registered and a caller
	// with too short a deadline are not.
	failed, began := true, time.Now()
	defer func() {
		if failed {
			c.observer.ObserveFailure(h.ControllerID)
		}
	}()

	result, err := c.store.Heartbeat(ctx, HeartbeatWrite{
		ControllerID:        h.ControllerID,
		CurrentMeetings:     h.Load.CurrentMeetings,
		CurrentParticipants: h.Load.CurrentParticipants,
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
		return Acknowledgement{}, fmt.Errorf("store heartbeat of controller %s: %w", h.ControllerID, c.handleStoreError(h.ControllerID, err))
	}

	c.observer.ObserveCommit(h.ControllerID)
	c.observeTransition(result.Transition)
	return Acknowledgement{
		At:         result.At,
		Intent:     result.Intent,
		Intervals:  c.intervals,
		RetryAfter: c.spreader.DelayAfterHeartbeat(),
	}, nil
}

// handleStoreError records a superseded incarnation and attaches a retry delay to [ErrUnavailable].
func (c *globalController) handleStoreError(controllerID string, err error) error {
	switch {
	case errors.Is(err, ErrSuperseded):
		c.observer.ObserveSuperseded()
		c.store.RecordConflict(controllerID)
	case errors.Is(err, ErrUnavailable):
		return &RetryError{After: c.spreader.DelayAfterFailure(), Err: err}
	}
	return err
}

// StreamHeartbeats admits every caller that the endpoint lets through.
func (c *globalController) StreamHeartbeats(ctx context.Context, _ HeartbeatStream) (HeartbeatStream, error) {
	return HeartbeatStream{Subject: CallerFrom(ctx).Subject}, nil
}

// NotifyMeetingEnded acknowledges without a write: the notice does not end the assignment of the meeting yet.
func (c *globalController) NotifyMeetingEnded(_ context.Context, m MeetingEnded) (Acknowledgement, error) {
	return Acknowledgement{}, m.Validate()
}
