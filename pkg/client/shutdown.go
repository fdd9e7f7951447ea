package client

import (
	"context"
	"errors"
	"time"

	"github.com/go-kit/log/level"
	"google.golang.org/grpc/codes"
)

const (
	// meetingsPollInterval is how often a shutdown calls Load to see whether meetings are left.
	meetingsPollInterval = time.Second
	// maxFinalAttempts is how often each of the final calls is tried.
	maxFinalAttempts = 3
)

// shutDown waits for meetings and makes the final calls. ctx has ended, so both have their own timeouts.
func (l *registrationLoop) shutDown(ctx context.Context) error {
	isAbandoned := errors.Is(context.Cause(ctx), ErrAbandon)
	if isAbandoned || !l.phase.mayBeRegistered() {
		return nil
	}

	_ = level.Info(l.cfg.Logger).Log("msg", "stopping")
	l.emit(Event{Kind: EventStopping})
	l.isShuttingDown = true
	ctx = context.WithoutCancel(ctx)
	hasWaited, err := l.waitForMeetings(ctx)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, l.cfg.Shutdown.Timeout)
	defer cancel()
	err = l.sendFinalCalls(ctx, hasWaited)
	if codeOf(err) == codes.FailedPrecondition {
		return l.endSuperseded(err)
	}
	if err != nil {
		_ = level.Warn(l.cfg.Logger).Log("msg", "final heartbeat or deregistration failed", "err", err)
	}
	l.emit(Event{Kind: EventStopped, Err: err})
	return nil
}

// waitForMeetings sends heartbeats that report draining until neither meetings nor participants are left, or until
// Shutdown.WaitForMeetings is over. It reports whether it has sent any.
func (l *registrationLoop) waitForMeetings(ctx context.Context) (hasWaited bool, err error) {
	if l.cfg.Shutdown.WaitForMeetings == 0 || l.phase != phaseRegistered || l.cfg.Load().isIdle() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Shutdown.WaitForMeetings)
	defer cancel()

	nextCall := time.Now()
	for ctx.Err() == nil && !l.cfg.Load().isIdle() {
		if !time.Now().Before(nextCall) {
			delay, err := l.makeNextCall(ctx)
			if err != nil {
				return true, err
			}
			nextCall = time.Now().Add(delay)
		}
		sleep(ctx, max(0, min(meetingsPollInterval, time.Until(nextCall))))
	}
	return true, nil
}

// sendFinalCalls sends a last heartbeat that reports draining, and deregisters if Shutdown.Deregister is true. The heartbeat
// lets the Global Controller stop placing meetings here while the deregistration is under way or if it fails. It is left out
// if the wait for meetings has reported draining already.
func (l *registrationLoop) sendFinalCalls(ctx context.Context, hasReportedDraining bool) error {
	sendLastHeartbeat := func(ctx context.Context) error {
		_, err := l.transport.heartbeat(ctx, l.newReport(false))
		return err
	}
	if !l.cfg.Shutdown.Deregister {
		return l.retryFinalCall(ctx, sendLastHeartbeat)
	}

	if !hasReportedDraining {
		half, cancel := context.WithTimeout(ctx, l.cfg.Shutdown.Timeout/2) // The other half is for the deregistration.
		defer cancel()
		if err := l.retryFinalCall(half, sendLastHeartbeat); codeOf(err) == codes.FailedPrecondition {
			return err
		}
	}
	return l.retryFinalCall(ctx, l.transport.deregister)
}

// retryFinalCall makes a final call up to maxFinalAttempts times. NOT_FOUND counts as success: the Global Controller does not
// have the controller any more.
func (l *registrationLoop) retryFinalCall(ctx context.Context, call func(context.Context) error) error {
	var err error
	for attempt := range maxFinalAttempts {
		if attempt > 0 {
			sleep(ctx, l.schedule.randomPart(l.cfg.Shutdown.Timeout/10, 0.5, 1.5))
		}
		if ctx.Err() != nil && err != nil {
			return err
		}

		err = call(ctx)
		switch codeOf(err) {
		case codes.NotFound:
			return nil
		case codes.OK, codes.FailedPrecondition, codes.InvalidArgument, codes.PermissionDenied, codes.Unimplemented:
			return err
		}
	}
	return err
}
