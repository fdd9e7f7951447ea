package client

import (
	"context"
	"errors"
	"time"

	"github.com/go-kit/log/level"
	"google.golang.org/grpc/codes"
)

const (
	// meetingsPoll is how often a shutdown looks whether there are meetings yet.
	meetingsPoll = time.Second
	// farewells is how often one of the last calls is tried.
	farewells = 3
)

// leave says goodbye. ctx is over, so what is left to do has contexts of its own.
func (s *session) leave(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), ErrAbandon) || !s.registered && !s.uncertain {
		return nil
	}
	_ = level.Info(s.cfg.Logger).Log("msg", "leaving")
	s.event(Event{Kind: EventStopping})
	ctx = context.WithoutCancel(ctx)
	s.draining = true
	waited, err := s.waitForMeetings(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Shutdown.Timeout)
	defer cancel()
	if err = s.goodbye(ctx, waited); codeOf(err) == codes.FailedPrecondition {
		return s.superseded(err)
	}
	if err != nil {
		_ = level.Warn(s.cfg.Logger).Log("msg", "nobody heard the goodbye", "err", err)
	}
	s.event(Event{Kind: EventStopped, Err: err})
	return nil
}

// waitForMeetings beats as draining until neither meetings nor participants are left, or the time that is given to them is
// over. It reports whether a heartbeat said so.
func (s *session) waitForMeetings(ctx context.Context) (bool, error) {
	if s.cfg.Shutdown.WaitForMeetings == 0 || !s.registered || s.cfg.Load().isIdle() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Shutdown.WaitForMeetings)
	defer cancel()
	for next := time.Now(); ctx.Err() == nil && !s.cfg.Load().isIdle(); {
		if !time.Now().Before(next) {
			wait, err := s.step(ctx)
			if err != nil {
				return true, err
			}
			next = time.Now().Add(wait)
		}
		sleep(ctx, max(0, min(meetingsPoll, time.Until(next))))
	}
	return true, nil
}

// goodbye makes the last calls. A controller that deregisters says that it drains before, if it has not said so for
// long: whoever places meetings sees it while the other call is under way, and when that one cannot be made.
func (s *session) goodbye(ctx context.Context, waited bool) error {
	last := func(ctx context.Context) error {
		_, err := s.calls.heartbeat(ctx, s.report(false))
		return err
	}
	if !s.cfg.Shutdown.Deregister {
		return s.insist(ctx, last)
	}
	if !waited {
		half, cancel := context.WithTimeout(ctx, s.cfg.Shutdown.Timeout/2) // The rest is for the call that counts.
		defer cancel()
		if err := s.insist(half, last); codeOf(err) == codes.FailedPrecondition {
			return err
		}
	}
	return s.insist(ctx, s.calls.deregister)
}

// insist tries a last call a few times. A Global Controller that does not know the controller needs no goodbye.
func (s *session) insist(ctx context.Context, call func(context.Context) error) error {
	var err error
	for attempt := range farewells {
		if attempt > 0 {
			sleep(ctx, s.pace.spread(s.cfg.Shutdown.Timeout/10, 0.5, 1.5))
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
