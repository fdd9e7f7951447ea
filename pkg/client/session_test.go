package client

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// fakeCalls is a transport that answers as it is told to, at once.
type fakeCalls struct {
	answer func(call) (answer, error)
	calls  []call
}

// call is one that a session made.
type call struct {
	method string
	at     time.Time
	report report
}

func (f *fakeCalls) take(ctx context.Context, c call) (answer, error) {
	c.at = time.Now()
	f.calls = append(f.calls, c)
	if ctx.Err() != nil {
		return answer{}, &failure{code: codes.Canceled, err: ctx.Err()}
	}
	if f.answer == nil {
		return answer{}, nil
	}
	return f.answer(c)
}

func (f *fakeCalls) register(ctx context.Context) (answer, error) {
	return f.take(ctx, call{method: methodRegister})
}

func (f *fakeCalls) heartbeat(ctx context.Context, r report) (answer, error) {
	return f.take(ctx, call{method: r.method(), report: r})
}

func (f *fakeCalls) deregister(ctx context.Context) error {
	_, err := f.take(ctx, call{method: methodDeregister})
	return err
}

func (*fakeCalls) close() {}

func (f *fakeCalls) methods() []string {
	var methods []string
	for _, c := range f.calls {
		methods = append(methods, c.method)
	}
	return methods
}

func (f *fakeCalls) count(method string) int {
	n := 0
	for _, c := range f.calls {
		if c.method == method {
			n++
		}
	}
	return n
}

// gaps are the times between calls.
func (f *fakeCalls) gaps() []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(f.calls); i++ {
		gaps = append(gaps, f.calls[i].at.Sub(f.calls[i-1].at))
	}
	return gaps
}

func failed(code codes.Code) error { return &failure{code: code, message: "of the test"} }

// trial is a session and what it told.
type trial struct {
	*session
	calls  *fakeCalls
	events []Event
}

func newTrial(t *testing.T, change func(*Config)) *trial {
	t.Helper()
	calls := &fakeCalls{}
	tr := &trial{calls: calls}
	cfg := testConfig("127.0.0.1:1")
	cfg.OnEvent = func(e Event) { tr.events = append(tr.events, e) }
	if change != nil {
		change(&cfg)
	}
	client, err := New(cfg)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	tr.session = newSession(&client.cfg, calls, rand.Float64)
	return tr
}

func (tr *trial) kinds() []EventKind {
	var kinds []EventKind
	for _, e := range tr.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// runFor runs the session so long, and then has it crash.
func (tr *trial) runFor(t *testing.T, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(d, func() { cancel(ErrAbandon) })
	defer timer.Stop()
	return tr.run(ctx)
}

func within(t *testing.T, what string, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s = %v, want %v to %v", what, got, least, most)
	}
}

func TestThePaceOfAQuietLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, nil)
		if err := tr.runFor(t, time.Hour); err != nil {
			t.Fatalf("run() = %v", err)
		}
		if got := tr.calls.methods()[:2]; !slices.Equal(got, []string{methodRegister, methodComprehensive}) {
			t.Errorf("began with %v, want the registration and a comprehensive heartbeat", got)
		}
		gaps := tr.calls.gaps()
		within(t, "the wait before the first heartbeat", gaps[0], 0, 0)
		for _, gap := range gaps[1:] {
			within(t, "an interval", gap, 9*time.Second, 11*time.Second)
		}
		if shortest, longest := slices.Min(gaps[1:]), slices.Max(gaps[1:]); longest-shortest < time.Second {
			t.Errorf("intervals of %v to %v, want them spread", shortest, longest)
		}
		var last time.Time
		for i, c := range tr.calls.calls {
			if c.method != methodComprehensive {
				continue
			}
			if i > 10 && !last.IsZero() {
				within(t, "between comprehensive heartbeats", c.at.Sub(last), 25*time.Second, 36*time.Second)
			}
			last = c.at
		}
		if n := tr.calls.count(methodComprehensive); n < 105 || n > 135 {
			t.Errorf("%d comprehensive heartbeats in an hour, want about 120", n)
		}
		if got := tr.kinds(); !slices.Equal(got, []EventKind{EventRegistered}) {
			t.Errorf("events = %v, want no other than registered", got)
		}
	})
}

func TestTheSecondComprehensiveHeartbeatsOfAFleetAreSpread(t *testing.T) {
	t.Parallel()
	p := newPace(nil)
	now := time.Now()
	for _, random := range []float64{0, 0.5, 0.99} {
		p.random = func() float64 { return random }
		p.registered(now)
		if !p.dueComprehensive(now) {
			t.Error("the first heartbeat is not a comprehensive one")
		}
		p.acknowledged(now, true)
		if got, want := p.comprehensive.Sub(now), time.Duration(random*30*float64(time.Second)); got != want {
			t.Errorf("the second is due after %v, want %v", got, want)
		}
		p.acknowledged(now, true)
		if got := p.comprehensive.Sub(now); got != 30*time.Second {
			t.Errorf("the third is due after %v, want 30 s", got)
		}
	}
}

func TestIntervalsAreAdopted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, nil)
		began := time.Now()
		tr.calls.answer = func(c call) (answer, error) {
			switch at := c.at.Sub(began); {
			case c.method == methodRegister:
				return answer{intervals: Intervals{2 * time.Second, 6 * time.Second}, retryAfter: 3 * time.Second}, nil
			case at > 100*time.Second && at < 200*time.Second:
				return answer{intervals: Intervals{Fast: 20 * time.Second, Comprehensive: 5 * time.Second}}, nil
			}
			return answer{}, nil
		}
		_ = tr.runFor(t, 200*time.Second)
		gaps := tr.calls.gaps()
		within(t, "the wait before the first heartbeat", gaps[0], 3*time.Second, 3*time.Second)
		for i, gap := range gaps[1:] {
			switch at := tr.calls.calls[i+1].at.Sub(began); {
			case at < 100*time.Second:
				within(t, "an interval", gap, 1800*time.Millisecond, 2200*time.Millisecond)
			default:
				within(t, "a later interval", gap, 4500*time.Millisecond, 5500*time.Millisecond)
				if method := tr.calls.calls[i+2].method; method != methodComprehensive {
					t.Errorf("heartbeat %d is %s, want only comprehensive ones as they come more often", i, method)
				}
			}
		}
		if got := tr.kinds(); !slices.Equal(got, []EventKind{EventRegistered, EventIntervals, EventIntervals}) {
			t.Errorf("events = %v", got)
		}
		if got, want := tr.events[2].Intervals, (Intervals{20 * time.Second, 5 * time.Second}); got != want {
			t.Errorf("intervals = %v, want %v", got, want)
		}
	})
}

func TestASpreadCountsOnceAndIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, nil)
		asked := []time.Duration{0, 4 * time.Second, 0, time.Hour, time.Nanosecond}
		tr.calls.answer = func(call) (answer, error) {
			if n := len(tr.calls.calls); n <= len(asked) {
				return answer{retryAfter: asked[n-1]}, nil
			}
			return answer{}, nil
		}
		_ = tr.runFor(t, time.Minute)
		gaps := tr.calls.gaps()
		within(t, "as asked", gaps[1], 4*time.Second, 4*time.Second)
		within(t, "not asked", gaps[2], 9*time.Second, 11*time.Second)
		within(t, "an hour", gaps[3], 20*time.Second, 20*time.Second)
		within(t, "a nanosecond", gaps[4], 100*time.Millisecond, 100*time.Millisecond)
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{
		codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Internal,
		codes.Unauthenticated, codes.PermissionDenied, codes.Unknown, codes.Unimplemented,
	} {
		for _, known := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				tr := newTrial(t, nil)
				tr.calls.answer = func(c call) (answer, error) {
					if known && c.method == methodRegister {
						return answer{}, nil
					}
					return answer{}, failed(code)
				}
				_ = tr.runFor(t, 10*time.Minute)
				gaps := tr.calls.gaps()
				if known {
					gaps = gaps[1:]
				}
				within(t, "the first", gaps[0], 1250*time.Millisecond, 3750*time.Millisecond)
				within(t, "the second", gaps[1], 2500*time.Millisecond, 7500*time.Millisecond)
				for _, gap := range gaps[2:] {
					within(t, "a later one", gap, 7500*time.Millisecond, 10*time.Second)
				}
				want := []EventKind{EventNotRegistered}
				if known {
					want = []EventKind{EventRegistered, EventLost}
				}
				if got := tr.kinds(); !slices.Equal(got, want) {
					t.Errorf("%v: events = %v, want %v", code, got, want)
				}
			})
		}
	}
}

func TestAnErrorMaySayWhenToComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, nil)
		tr.calls.answer = func(call) (answer, error) {
			switch len(tr.calls.calls) {
			case 1:
				return answer{}, &failure{code: codes.ResourceExhausted, retryAfter: 700 * time.Millisecond}
			case 3:
				return answer{}, &failure{code: codes.Unavailable, retryAfter: 6 * time.Second}
			}
			return answer{}, nil
		}
		_ = tr.runFor(t, time.Minute)
		gaps := tr.calls.gaps()
		within(t, "after the registration", gaps[0], 700*time.Millisecond, 700*time.Millisecond)
		within(t, "after the heartbeat", gaps[2], 6*time.Second, 6*time.Second)
		if got := tr.kinds(); !slices.Equal(got, []EventKind{EventNotRegistered, EventRegistered, EventLost, EventRecovered}) {
			t.Errorf("events = %v", got)
		}
	})
}

func TestSlowCallsDoNotMakeAControllerLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, nil)
		tr.calls.answer = func(call) (answer, error) {
			switch n := len(tr.calls.calls); {
			case n > 1 && n <= 10:
				time.Sleep(8 * time.Second)
			case n > 10:
				time.Sleep(10 * time.Second)
				return answer{}, failed(codes.DeadlineExceeded)
			}
			return answer{}, nil
		}
		_ = tr.runFor(t, 5*time.Minute)
		for i, gap := range tr.calls.gaps()[1:] {
			if i < 9 {
				within(t, "slow answers", gap, 9*time.Second, 11*time.Second)
			} else {
				within(t, "no answers", gap, 10*time.Second, 12500*time.Millisecond)
			}
		}
	})
}

func TestOneThatIsForgottenRegistersAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, nil)
		tr.calls.answer = func(c call) (answer, error) {
			switch n := len(tr.calls.calls); {
			case n == 5:
				return answer{}, failed(codes.NotFound)
			case n > 5 && n < 10 && c.method == methodRegister:
				return answer{}, failed(codes.Unavailable)
			case n == 11, n == 20:
				return answer{}, failed(codes.NotFound) // Right after it was registered again, and long after.
			}
			return answer{}, nil
		}
		_ = tr.runFor(t, 5*time.Minute)
		want := []string{methodRegister, methodRegister, methodRegister, methodRegister, methodRegister, methodComprehensive, methodRegister, methodComprehensive}
		if got := tr.calls.methods()[5:13]; !slices.Equal(got, want) {
			t.Errorf("calls = %v, want %v", got, want)
		}
		gaps := tr.calls.gaps()
		within(t, "registers at once", gaps[4], 0, 0)
		within(t, "the first try after that", gaps[5], 1250*time.Millisecond, 3750*time.Millisecond)
		within(t, "the fourth", gaps[8], 7500*time.Millisecond, 10*time.Second)
		within(t, "beats at once", gaps[9], 0, 0)
		within(t, "not at once when it did not help", gaps[10], 1250*time.Millisecond, 3750*time.Millisecond)
		within(t, "at once when it had helped", gaps[19], 0, 0)
		events := []EventKind{EventRegistered, EventLost, EventNotRegistered, EventRegistered, EventRegistered, EventRecovered, EventLost, EventRegistered, EventRecovered}
		if got := tr.kinds(); !slices.Equal(got, events) {
			t.Errorf("events = %v", got)
		}
	})
}

func TestWhatIsFinal(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]struct {
		at   int
		code codes.Code
		want error
	}{
		"superseded before the registration": {1, codes.FailedPrecondition, ErrSuperseded},
		"superseded later":                   {7, codes.FailedPrecondition, ErrSuperseded},
		"superseded twice":                   {-7, codes.FailedPrecondition, ErrSuperseded},
		"invalid":                            {1, codes.InvalidArgument, &RegistrationError{Message: "of the test"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := newTrial(t, nil)
				tr.calls.answer = func(call) (answer, error) {
					n := len(tr.calls.calls)
					switch {
					case fails.at < 0 && (n == -fails.at || n == -fails.at+2), fails.at > 0 && n >= fails.at:
						return answer{}, failed(fails.code)
					}
					return answer{}, nil
				}
				err := tr.run(t.Context())
				var got, want *RegistrationError
				if errors.As(fails.want, &want) {
					if !errors.As(err, &got) || got.Message != want.Message {
						t.Errorf("run() = %v, want %v", err, want)
					}
					return
				}
				if !errors.Is(err, fails.want) {
					t.Errorf("run() = %v, want %v", err, fails.want)
				}
				if last := tr.events[len(tr.events)-1]; last.Kind != EventSuperseded || codeOf(last.Err) != fails.code {
					t.Errorf("the last event is %+v, want superseded", last)
				}
				// A heartbeat that is refused is followed by one registration, to see whether it is refused as well, and no more.
				calls := map[int]int{1: 1, 7: 8, -7: 9}[fails.at]
				if len(tr.calls.calls) != calls {
					t.Errorf("called %d times, want %d: it must not fight", len(tr.calls.calls), calls)
				}
			})
		})
	}
}

// TestALostRegistrationIsRenewed has the Global Controller know only the process before this one, as after a backup.
func TestALostRegistrationIsRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, nil)
		tr.calls.answer = func(call) (answer, error) {
			if n := len(tr.calls.calls); n == 5 || n == 10 {
				return answer{}, failed(codes.FailedPrecondition)
			}
			return answer{}, nil
		}
		_ = tr.runFor(t, 3*time.Minute)
		want := []EventKind{EventRegistered, EventRegistered, EventRegistered}
		if got := tr.kinds(); !slices.Equal(got, want) {
			t.Errorf("events = %v, want %v", got, want)
		}
	})
}

func TestAnInvalidHeartbeatIsNoReasonToHurry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loads := []Load{
			{CPUPercent: float32(math.NaN()), MemoryPercent: float32(math.Inf(1)), Meetings: math.MaxUint32},
			{CPUPercent: -1, MemoryPercent: 101, Participants: math.MaxUint32},
		}
		tr := newTrial(t, func(cfg *Config) {
			cfg.Load = func() Load {
				load := loads[0]
				loads = append(loads[1:], Load{})
				return load
			}
		})
		tr.calls.answer = func(c call) (answer, error) {
			if c.method == methodRegister {
				return answer{}, nil
			}
			return answer{}, failed(codes.InvalidArgument)
		}
		_ = tr.runFor(t, time.Minute)
		for _, gap := range tr.calls.gaps()[1:] {
			within(t, "an interval", gap, 9*time.Second, 11*time.Second)
		}
		if got, want := tr.calls.calls[1].report.load, (Load{MemoryPercent: 100, Meetings: math.MaxInt32}); got != want {
			t.Errorf("load = %+v, want %+v", got, want)
		}
		if got, want := tr.calls.calls[2].report.load, (Load{MemoryPercent: 100, Participants: math.MaxInt32}); got != want {
			t.Errorf("load = %+v, want %+v", got, want)
		}
	})
}

func TestTheOperatorsIntent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, func(cfg *Config) { cfg.Health = func() Health { return HealthDegraded } })
		deadline := time.Unix(2_000_000_000, 0)
		told := []Intent{
			{},
			{},
			{Draining: true},
			{Draining: true},
			{Draining: true, Reason: "kernel"},
			{Draining: true, Reason: "kernel", Deadline: deadline},
			{},
			{},
			{Draining: true, Reason: "again"},
		}
		tr.calls.answer = func(call) (answer, error) {
			return answer{intent: told[min(len(tr.calls.calls), len(told))-1]}, nil
		}
		_ = tr.runFor(t, 3*time.Minute)
		want := []EventKind{EventRegistered, EventDrain, EventDrain, EventDrain, EventUndrain, EventDrain}
		if got := tr.kinds(); !slices.Equal(got, want) {
			t.Fatalf("events = %v, want %v", got, want)
		}
		if got := tr.events[3].Intent; got != told[5] {
			t.Errorf("intent = %+v, want %+v", got, told[5])
		}
		for _, c := range tr.calls.calls[1:] {
			if c.report.health != HealthDegraded {
				t.Errorf("reported %v, want what Health says", c.report.health)
			}
		}
	})
}
