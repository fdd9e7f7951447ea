package client

import (
	"context"
	"errors"
	"time"

	"github.com/go-kit/log/level"
	"google.golang.org/grpc/codes"
)

// session is one run of a client: a single loop that sends at most one call at a time.
type session struct {
	cfg   *Config
	calls transport
	pace  *pace

	registered bool
	// uncertain tells that a registration was under way when the shutdown began.
	uncertain bool
	// unregistered tells that the application knows that registering fails.
	unregistered bool
	// forgotten tells that the Global Controller did not know the controller, and no heartbeat was acknowledged since.
	forgotten bool
	// contested tells that a heartbeat was refused for another incarnation's sake, and none was acknowledged since.
	contested bool
	// draining has the client report that, whatever Health says.
	draining bool
	lost     bool
	intent   Intent
	state    state
}

func newSession(cfg *Config, calls transport, random func() float64) *session {
	return &session{cfg: cfg, calls: calls, pace: newPace(random)}
}

func (s *session) run(ctx context.Context) error {
	s.become(stateRegistering)
	defer s.become(stateGone)
	for ctx.Err() == nil {
		wait, err := s.step(ctx)
		if err != nil {
			return err
		}
		sleep(ctx, wait)
	}
	return s.leave(ctx)
}

// step makes the one call that is due, and says how long to wait before the next. An error is final.
func (s *session) step(ctx context.Context) (time.Duration, error) {
	if !s.registered {
		return s.register(ctx)
	}
	return s.beat(ctx)
}

func (s *session) register(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	answer, err := s.calls.register(ctx)
	switch code := codeOf(err); {
	case err == nil:
	case ctx.Err() != nil:
		s.uncertain = true
		return 0, nil
	case code == codes.FailedPrecondition:
		return 0, s.superseded(err)
	case code == codes.InvalidArgument:
		_ = level.Error(s.cfg.Logger).Log("msg", "registration refused", "err", err)
		return 0, s.refused(err)
	default:
		wait := s.pace.backoff(time.Since(began), retryAfterOf(err))
		_ = level.Warn(s.cfg.Logger).Log("msg", "cannot register", "err", err, "again_in", wait)
		if !s.unregistered {
			s.unregistered = true
			s.event(Event{Kind: EventNotRegistered, Err: err})
		}
		return wait, nil
	}
	now := time.Now()
	s.registered, s.uncertain, s.unregistered = true, false, false
	s.cfg.Metrics.registered()
	s.pace.registered(now)
	if !s.lost {
		s.become(stateRegistered)
	}
	_ = level.Info(s.cfg.Logger).Log("msg", "registered", "incarnation", s.cfg.Incarnation)
	s.event(Event{Kind: EventRegistered})
	s.take(answer)
	if answer.retryAfter > 0 {
		return s.pace.bounded(answer.retryAfter), nil
	}
	return 0, nil
}

func (s *session) beat(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	r := s.report(s.pace.dueComprehensive(began))
	answer, err := s.calls.heartbeat(ctx, r)
	took := time.Since(began)
	if err == nil {
		s.pace.acknowledged(began, r.comprehensive)
		s.forgotten, s.contested = false, false
		s.recovered()
		s.take(answer)
		return s.pace.next(took, answer.retryAfter), nil
	}
	if ctx.Err() != nil {
		return 0, nil
	}
	switch codeOf(err) {
	case codes.FailedPrecondition:
		// Either another process has registered since, which the next registration is refused for, or the Global Controller
		// has lost this one's registration: a restored backup knows who came before. A second time it is a fight.
		if s.contested {
			return 0, s.superseded(err)
		}
		_ = level.Warn(s.cfg.Logger).Log("msg", "heartbeat refused for another incarnation", "err", err)
		s.registered, s.contested = false, true
		return 0, nil
	case codes.NotFound:
		s.missed(err)
		again := s.forgotten
		s.registered, s.forgotten = false, true
		if again { // Registering does not help for long, so it must not become a loop.
			return s.pace.backoff(took, retryAfterOf(err)), nil
		}
		return 0, nil
	case codes.InvalidArgument:
		// Another heartbeat may be valid: what it says is the application's. Trying sooner would not make it so.
		s.missed(err)
		return s.pace.next(took, 0), nil
	default:
		s.missed(err)
		return s.pace.backoff(took, retryAfterOf(err)), nil
	}
}

func (s *session) report(comprehensive bool) report {
	r := report{comprehensive: comprehensive, load: s.cfg.Load(), health: s.cfg.Health()}
	r.load.CPUPercent, r.load.MemoryPercent = percent(r.load.CPUPercent), percent(r.load.MemoryPercent)
	r.load.Meetings, r.load.Participants = min(r.load.Meetings, maxLimit), min(r.load.Participants, maxLimit)
	if s.draining {
		r.health = HealthDraining
	}
	return r
}

// percent moves a number into the range that is valid.
func percent(p float32) float32 {
	if p > 0 { // Not so for what is not a number.
		return min(p, 100)
	}
	return 0
}

// take acts on what the answer says beside yes.
func (s *session) take(a answer) {
	if s.pace.adopt(a.intervals) {
		_ = level.Info(s.cfg.Logger).Log("msg", "intervals changed", "fast", s.pace.intervals.Fast, "comprehensive", s.pace.intervals.Comprehensive)
		s.event(Event{Kind: EventIntervals, Intervals: s.pace.intervals})
	}
	before := s.intent
	s.intent = a.intent
	switch {
	case a.intent.Draining && a.intent != before:
		_ = level.Info(s.cfg.Logger).Log("msg", "told to drain", "deadline", a.intent.Deadline, "reason", a.intent.Reason)
		s.event(Event{Kind: EventDrain, Intent: a.intent})
	case before.Draining && !a.intent.Draining:
		_ = level.Info(s.cfg.Logger).Log("msg", "told to drain no more")
		s.event(Event{Kind: EventUndrain})
	}
}

func (s *session) missed(err error) {
	_ = level.Warn(s.cfg.Logger).Log("msg", "heartbeat not acknowledged", "err", err)
	if s.lost {
		return
	}
	s.lost = true
	s.become(stateLost)
	s.event(Event{Kind: EventLost, Err: err})
}

func (s *session) recovered() {
	if !s.lost {
		return
	}
	s.lost = false
	s.become(stateRegistered)
	_ = level.Info(s.cfg.Logger).Log("msg", "heartbeats are acknowledged again")
	s.event(Event{Kind: EventRecovered})
}

func (s *session) superseded(err error) error {
	_ = level.Error(s.cfg.Logger).Log("msg", "superseded by another process", "err", err)
	s.event(Event{Kind: EventSuperseded, Err: err})
	return ErrSuperseded
}

// refused is what Run returns for a registration that is invalid.
func (s *session) refused(err error) error {
	refusal := &RegistrationError{Message: err.Error()}
	if f, ok := errors.AsType[*failure](err); ok {
		refusal.Message = f.message
	}
	return refusal
}

func (s *session) event(e Event) {
	e.At = time.Now()
	s.cfg.OnEvent(e)
}

func (s *session) become(next state) {
	s.cfg.Metrics.moved(s.state, next)
	s.state = next
}

// sleep waits, at most until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	// Not only for speed: in a bubble of testing/synctest, goroutines that find their timers due at the same time upset
	// the race detector (golang/go issue 78156).
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
