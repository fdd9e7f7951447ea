package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-kit/log/level"
	"google.golang.org/grpc/codes"
)

// registrationPhase is the progress of a loop's registration.
type registrationPhase int

const (
	// phaseUnregistered: the next call is a registration.
	phaseUnregistered registrationPhase = iota
	// phaseRegistrationFailed: registrations fail, and EventNotRegistered has been emitted.
	phaseRegistrationFailed
	// phaseUnconfirmed: a registration was under way when the shutdown began, so it may have been accepted.
	phaseUnconfirmed
	// phaseRegistered: the next call is a heartbeat.
	phaseRegistered
)

// mayBeRegistered reports whether the Global Controller may have the controller.
func (p registrationPhase) mayBeRegistered() bool { return p >= phaseUnconfirmed }

// registrationLoop registers one controller and sends its heartbeats, at most one call at a time. There is one for each call
// of Client.Run.
type registrationLoop struct {
	cfg       *Config
	transport transport
	schedule  *schedule

	phase registrationPhase
	// missedBecause has the codes NOT_FOUND and FAILED_PRECONDITION if a heartbeat failed with them since the last one that was
	// acknowledged.
	missedBecause []codes.Code
	// isShuttingDown makes heartbeats report draining, whatever Health returns.
	isShuttingDown bool

	intent Intent
	state  clientState
}

func newRegistrationLoop(cfg *Config, transport transport, random func() float64) *registrationLoop {
	return &registrationLoop{cfg: cfg, transport: transport, schedule: newSchedule(random)}
}

func (l *registrationLoop) run(ctx context.Context) error {
	l.setState(stateRegistering)
	defer l.setState(stateNotRunning)

	for ctx.Err() == nil {
		delay, err := l.makeNextCall(ctx)
		if err != nil {
			return err
		}
		sleep(ctx, delay)
	}
	return l.shutDown(ctx)
}

// makeNextCall makes the call that is due, and returns how long to wait before the next one. An error ends the loop.
func (l *registrationLoop) makeNextCall(ctx context.Context) (time.Duration, error) {
	if l.phase != phaseRegistered {
		return l.register(ctx)
	}
	return l.sendHeartbeat(ctx)
}

func (l *registrationLoop) register(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	response, err := l.transport.register(ctx)
	if err != nil {
		return l.handleRegistrationError(ctx, err, time.Since(began))
	}

	l.phase = phaseRegistered
	l.cfg.Metrics.countRegistration()
	l.schedule.markRegistered(time.Now())
	if l.state != stateLost {
		l.setState(stateRegistered)
	}

	_ = level.Info(l.cfg.Logger).Log("msg", "registered", "incarnation", l.cfg.Incarnation)
	l.emit(Event{Kind: EventRegistered})
	l.applyResponse(response)
	if response.retryAfter > 0 {
		return l.schedule.limitRetryAfter(response.retryAfter), nil
	}
	return 0, nil
}

func (l *registrationLoop) handleRegistrationError(ctx context.Context, err error, took time.Duration) (time.Duration, error) {
	if ctx.Err() != nil {
		l.phase = phaseUnconfirmed
		return 0, nil
	}

	switch codeOf(err) {
	case codes.FailedPrecondition:
		return 0, l.endSuperseded(err)
	case codes.InvalidArgument:
		_ = level.Error(l.cfg.Logger).Log("msg", "registration refused", "err", err)
		return 0, newRegistrationError(err)
	}

	delay := l.schedule.delayAfterFailure(took, retryAfterOf(err))
	_ = level.Warn(l.cfg.Logger).Log("msg", "registration failed", "err", err, "retry_in", delay)
	if l.phase != phaseRegistrationFailed {
		l.phase = phaseRegistrationFailed
		l.emit(Event{Kind: EventNotRegistered, Err: err})
	}
	return delay, nil
}

// newRegistrationError returns the result of Run for a registration that is invalid.
func newRegistrationError(err error) error {
	message := err.Error()
	if f, ok := errors.AsType[*failure](err); ok {
		message = f.message
	}
	return &RegistrationError{Message: message}
}

func (l *registrationLoop) sendHeartbeat(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	report := l.newReport(l.schedule.isComprehensiveDue(began))
	response, err := l.transport.heartbeat(ctx, report)
	took := time.Since(began)
	if err != nil {
		return l.handleHeartbeatError(ctx, err, took)
	}

	l.schedule.markAcknowledged(began, report.isComprehensive)
	l.missedBecause = nil
	l.reportRecovery()
	l.applyResponse(response)
	return l.schedule.delayAfterHeartbeat(took, response.retryAfter), nil
}

func (l *registrationLoop) handleHeartbeatError(ctx context.Context, err error, took time.Duration) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, nil
	}

	switch codeOf(err) {
	case codes.FailedPrecondition:
		// Either another process has registered since, and the next registration is refused as well. Or the Global Controller
		// has lost this registration, because a backup was restored that has an earlier process. The second time in a row, it
		// must be another process.
		if l.recordMissedBecause(codes.FailedPrecondition) {
			return 0, l.endSuperseded(err)
		}
		_ = level.Warn(l.cfg.Logger).Log("msg", "heartbeat refused for another incarnation, registering again", "err", err)
		l.phase = phaseUnregistered
		return 0, nil
	case codes.NotFound:
		l.reportMissed(err)
		l.phase = phaseUnregistered
		if l.recordMissedBecause(codes.NotFound) { // The last registration did not help, so the next one must wait.
			return l.schedule.delayAfterFailure(took, retryAfterOf(err)), nil
		}
		return 0, nil
	case codes.InvalidArgument:
		// The values come from the application. The next heartbeat may be valid; an earlier one would not be.
		l.reportMissed(err)
		return l.schedule.delayAfterHeartbeat(took, 0), nil
	default:
		l.reportMissed(err)
		return l.schedule.delayAfterFailure(took, retryAfterOf(err)), nil
	}
}

// recordMissedBecause records the code of a failed heartbeat. It reports whether one failed with the same code before, since the
// last one that was acknowledged.
func (l *registrationLoop) recordMissedBecause(code codes.Code) (isRepeated bool) {
	if slices.Contains(l.missedBecause, code) {
		return true
	}
	l.missedBecause = append(l.missedBecause, code)
	return false
}

func (l *registrationLoop) newReport(isComprehensive bool) heartbeatReport {
	load := l.cfg.Load()
	load.CPUPercent = limitPercent(load.CPUPercent)
	load.MemoryPercent = limitPercent(load.MemoryPercent)
	load.Meetings = min(load.Meetings, maxCapacity)
	load.Participants = min(load.Participants, maxCapacity)

	health := l.cfg.Health()
	if l.isShuttingDown {
		health = HealthDraining
	}
	return heartbeatReport{isComprehensive: isComprehensive, load: load, health: health}
}

// limitPercent limits a percentage to 0 to 100.
func limitPercent(p float32) float32 {
	if p > 0 { // False for NaN.
		return min(p, 100)
	}
	return 0
}

// applyResponse adopts the intervals and the operator's intent of a response.
func (l *registrationLoop) applyResponse(response callResponse) {
	if l.schedule.setIntervals(response.intervals) {
		intervals := l.schedule.intervals
		_ = level.Info(l.cfg.Logger).Log("msg", "intervals changed", "fast", intervals.Fast, "comprehensive", intervals.Comprehensive)
		l.emit(Event{Kind: EventIntervals, Intervals: intervals})
	}

	before := l.intent
	l.intent = response.intent
	switch {
	case l.intent.Draining && l.intent != before:
		_ = level.Info(l.cfg.Logger).Log("msg", "drain requested", "deadline", l.intent.Deadline, "reason", l.intent.Reason)
		l.emit(Event{Kind: EventDrain, Intent: l.intent})
	case before.Draining && !l.intent.Draining:
		_ = level.Info(l.cfg.Logger).Log("msg", "drain ended by the operator")
		l.emit(Event{Kind: EventUndrain})
	}
}

func (l *registrationLoop) reportMissed(err error) {
	_ = level.Warn(l.cfg.Logger).Log("msg", "heartbeat failed", "err", err)
	if l.state == stateLost {
		return
	}
	l.setState(stateLost)
	l.emit(Event{Kind: EventLost, Err: err})
}

func (l *registrationLoop) reportRecovery() {
	if l.state != stateLost {
		return
	}
	l.setState(stateRegistered)
	_ = level.Info(l.cfg.Logger).Log("msg", "heartbeats are acknowledged again")
	l.emit(Event{Kind: EventRecovered})
}

// endSuperseded reports that another process has the controller's id, and returns the result of Run.
func (l *registrationLoop) endSuperseded(err error) error {
	_ = level.Error(l.cfg.Logger).Log("msg", "superseded by another process", "err", err)
	l.emit(Event{Kind: EventSuperseded, Err: err})
	return ErrSuperseded
}

func (l *registrationLoop) emit(e Event) {
	e.At = time.Now()
	l.cfg.OnEvent(e)
}

func (l *registrationLoop) setState(next clientState) {
	l.cfg.Metrics.moveClient(l.state, next)
	l.state = next
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	// A timer of 0 must not be started. In a bubble of testing/synctest, timers that are due at the same time make the race detector
	// report false races (golang/go issue 78156).
	if d <= 0 {
		return
	}

	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
