package client

import (
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

func TestRegistrationLoop_SteadyState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, nil)
		if err := loop.crashAfter(t, time.Hour); err != nil {
			t.Fatalf("run() = %v", err)
		}
		if got := loop.transport.methods()[:2]; !slices.Equal(got, []string{methodRegister, methodComprehensive}) {
			t.Errorf("began with %v, want the registration and a comprehensive heartbeat", got)
		}

		gaps := loop.transport.gaps()
		checkWithin(t, "the wait before the first heartbeat", gaps[0], 0, 0)
		for _, gap := range gaps[1:] {
			checkWithin(t, "an interval", gap, 9*time.Second, 11*time.Second)
		}
		if shortest, longest := slices.Min(gaps[1:]), slices.Max(gaps[1:]); longest-shortest < time.Second {
			t.Errorf("intervals of %v to %v, want them spread", shortest, longest)
		}

		var last time.Time
		for i, c := range loop.transport.calls {
			if c.method != methodComprehensive {
				continue
			}
			if i > 10 && !last.IsZero() {
				checkWithin(t, "between comprehensive heartbeats", c.at.Sub(last), 25*time.Second, 36*time.Second)
			}
			last = c.at
		}

		if n := loop.transport.count(methodComprehensive); n < 105 || n > 135 {
			t.Errorf("%d comprehensive heartbeats in an hour, want about 120", n)
		}
		if got := loop.eventKinds(); !slices.Equal(got, []EventKind{EventRegistered}) {
			t.Errorf("events = %v, want only registered", got)
		}
	})
}

func TestRegistrationLoop_AdoptsIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, nil)
		began := time.Now()
		loop.transport.respond = func(c madeCall) (callResponse, error) {
			switch at := c.at.Sub(began); {
			case c.method == methodRegister:
				return callResponse{intervals: Intervals{2 * time.Second, 6 * time.Second}, retryAfter: 3 * time.Second}, nil
			case at > 100*time.Second && at < 200*time.Second:
				return callResponse{intervals: Intervals{Fast: 20 * time.Second, Comprehensive: 5 * time.Second}}, nil
			}
			return callResponse{}, nil
		}

		_ = loop.crashAfter(t, 200*time.Second)
		gaps := loop.transport.gaps()
		checkWithin(t, "the wait before the first heartbeat", gaps[0], 3*time.Second, 3*time.Second)

		for i, gap := range gaps[1:] {
			switch at := loop.transport.calls[i+1].at.Sub(began); {
			case at < 100*time.Second:
				checkWithin(t, "an interval", gap, 1800*time.Millisecond, 2200*time.Millisecond)
			default:
				checkWithin(t, "a later interval", gap, 4500*time.Millisecond, 5500*time.Millisecond)
				if method := loop.transport.calls[i+2].method; method != methodComprehensive {
					t.Errorf("heartbeat %d is %s, want only comprehensive ones as they come more often", i, method)
				}
			}
		}

		if got := loop.eventKinds(); !slices.Equal(got, []EventKind{EventRegistered, EventIntervals, EventIntervals}) {
			t.Errorf("events = %v", got)
		}
		if got, want := loop.events[2].Intervals, (Intervals{20 * time.Second, 5 * time.Second}); got != want {
			t.Errorf("intervals = %v, want %v", got, want)
		}
	})
}

func TestRegistrationLoop_RetryAfterOfAResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, nil)
		retryAfters := []time.Duration{0, 4 * time.Second, 0, time.Hour, time.Nanosecond}
		loop.transport.respond = func(madeCall) (callResponse, error) {
			if n := len(loop.transport.calls); n <= len(retryAfters) {
				return callResponse{retryAfter: retryAfters[n-1]}, nil
			}
			return callResponse{}, nil
		}

		_ = loop.crashAfter(t, time.Minute)
		gaps := loop.transport.gaps()
		checkWithin(t, "as requested", gaps[1], 4*time.Second, 4*time.Second)
		checkWithin(t, "not requested", gaps[2], 9*time.Second, 11*time.Second)
		checkWithin(t, "an hour", gaps[3], 20*time.Second, 20*time.Second)
		checkWithin(t, "a nanosecond", gaps[4], 100*time.Millisecond, 100*time.Millisecond)
	})
}

func TestRegistrationLoop_Backoff(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{
		codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Internal,
		codes.Unauthenticated, codes.PermissionDenied, codes.Unknown, codes.Unimplemented,
	} {
		for _, isRegistered := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				loop := newTestLoop(t, nil)
				loop.transport.respond = func(c madeCall) (callResponse, error) {
					if isRegistered && c.method == methodRegister {
						return callResponse{}, nil
					}
					return callResponse{}, newTestFailure(code)
				}

				_ = loop.crashAfter(t, 10*time.Minute)
				gaps := loop.transport.gaps()
				if isRegistered {
					gaps = gaps[1:]
				}
				checkWithin(t, "the first", gaps[0], 1250*time.Millisecond, 3750*time.Millisecond)
				checkWithin(t, "the second", gaps[1], 2500*time.Millisecond, 7500*time.Millisecond)
				for _, gap := range gaps[2:] {
					checkWithin(t, "a later one", gap, 7500*time.Millisecond, 10*time.Second)
				}

				want := []EventKind{EventNotRegistered}
				if isRegistered {
					want = []EventKind{EventRegistered, EventLost}
				}
				if got := loop.eventKinds(); !slices.Equal(got, want) {
					t.Errorf("%v: events = %v, want %v", code, got, want)
				}
			})
		}
	}
}

func TestRegistrationLoop_RetryAfterOfAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, nil)
		loop.transport.respond = func(madeCall) (callResponse, error) {
			switch len(loop.transport.calls) {
			case 1:
				return callResponse{}, &failure{code: codes.ResourceExhausted, retryAfter: 700 * time.Millisecond}
			case 3:
				return callResponse{}, &failure{code: codes.Unavailable, retryAfter: 6 * time.Second}
			}
			return callResponse{}, nil
		}

		_ = loop.crashAfter(t, time.Minute)
		gaps := loop.transport.gaps()
		checkWithin(t, "after the registration", gaps[0], 700*time.Millisecond, 700*time.Millisecond)
		checkWithin(t, "after the heartbeat", gaps[2], 6*time.Second, 6*time.Second)
		if got := loop.eventKinds(); !slices.Equal(got, []EventKind{EventNotRegistered, EventRegistered, EventLost, EventRecovered}) {
			t.Errorf("events = %v", got)
		}
	})
}

func TestRegistrationLoop_SlowCallsDelayNoHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, nil)
		loop.transport.respond = func(madeCall) (callResponse, error) {
			switch n := len(loop.transport.calls); {
			case n > 1 && n <= 10:
				time.Sleep(8 * time.Second)
			case n > 10:
				time.Sleep(10 * time.Second)
				return callResponse{}, newTestFailure(codes.DeadlineExceeded)
			}
			return callResponse{}, nil
		}

		_ = loop.crashAfter(t, 5*time.Minute)
		for i, gap := range loop.transport.gaps()[1:] {
			if i < 9 {
				checkWithin(t, "slow responses", gap, 9*time.Second, 11*time.Second)
			} else {
				checkWithin(t, "timeouts", gap, 10*time.Second, 12500*time.Millisecond)
			}
		}
	})
}

func TestRegistrationLoop_NotFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, nil)
		loop.transport.respond = func(c madeCall) (callResponse, error) {
			switch n := len(loop.transport.calls); {
			case n == 5:
				return callResponse{}, newTestFailure(codes.NotFound)
			case n > 5 && n < 10 && c.method == methodRegister:
				return callResponse{}, newTestFailure(codes.Unavailable)
			case n == 11, n == 20:
				return callResponse{}, newTestFailure(codes.NotFound) // Just after the second registration, and long after it.
			}
			return callResponse{}, nil
		}

		_ = loop.crashAfter(t, 5*time.Minute)
		want := []string{
			methodRegister, methodRegister, methodRegister, methodRegister, methodRegister,
			methodComprehensive, methodRegister, methodComprehensive,
		}
		if got := loop.transport.methods()[5:13]; !slices.Equal(got, want) {
			t.Errorf("calls = %v, want %v", got, want)
		}

		gaps := loop.transport.gaps()
		checkWithin(t, "registers at once", gaps[4], 0, 0)
		checkWithin(t, "the first retry", gaps[5], 1250*time.Millisecond, 3750*time.Millisecond)
		checkWithin(t, "the fourth", gaps[8], 7500*time.Millisecond, 10*time.Second)
		checkWithin(t, "sends a heartbeat at once", gaps[9], 0, 0)
		checkWithin(t, "with a delay after a second NOT_FOUND", gaps[10], 1250*time.Millisecond, 3750*time.Millisecond)
		checkWithin(t, "at once after an acknowledged heartbeat", gaps[19], 0, 0)
		events := []EventKind{
			EventRegistered, EventLost, EventNotRegistered, EventRegistered, EventRegistered, EventRecovered,
			EventLost, EventRegistered, EventRecovered,
		}

		if got := loop.eventKinds(); !slices.Equal(got, events) {
			t.Errorf("events = %v", got)
		}
	})
}

func TestRegistrationLoop_FinalErrors(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]struct {
		at   int
		code codes.Code
		want error
	}{
		"superseded before the registration": {1, codes.FailedPrecondition, ErrSuperseded},
		"superseded later":                   {7, codes.FailedPrecondition, ErrSuperseded},
		"superseded twice":                   {-7, codes.FailedPrecondition, ErrSuperseded},
		"invalid":                            {1, codes.InvalidArgument, &RegistrationError{Message: "test failure"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				loop := newTestLoop(t, nil)
				loop.transport.respond = func(madeCall) (callResponse, error) {
					n := len(loop.transport.calls)

					switch {
					case fails.at < 0 && (n == -fails.at || n == -fails.at+2), fails.at > 0 && n >= fails.at:
						return callResponse{}, newTestFailure(fails.code)
					}
					return callResponse{}, nil
				}

				err := loop.run(t.Context())
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
				if last := loop.events[len(loop.events)-1]; last.Kind != EventSuperseded || codeOf(last.Err) != fails.code {
					t.Errorf("the last event is %+v, want superseded", last)
				}

				// After a refused heartbeat there is one registration, which shows whether that is refused as well.
				calls := map[int]int{1: 1, 7: 8, -7: 9}[fails.at]
				if len(loop.transport.calls) != calls {
					t.Errorf("%d calls, want %d: both processes must not keep registering", len(loop.transport.calls), calls)
				}
			})
		})
	}
}

// TestRegistrationLoop_LostRegistration: the Global Controller has only an earlier process, as after a restored backup.
func TestRegistrationLoop_LostRegistration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, nil)
		loop.transport.respond = func(madeCall) (callResponse, error) {
			if n := len(loop.transport.calls); n == 5 || n == 10 {
				return callResponse{}, newTestFailure(codes.FailedPrecondition)
			}
			return callResponse{}, nil
		}
		_ = loop.crashAfter(t, 3*time.Minute)
		want := []EventKind{EventRegistered, EventRegistered, EventRegistered}
		if got := loop.eventKinds(); !slices.Equal(got, want) {
			t.Errorf("events = %v, want %v", got, want)
		}
	})
}

func TestRegistrationLoop_InvalidHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loads := []Load{
			{CPUPercent: float32(math.NaN()), MemoryPercent: float32(math.Inf(1)), Meetings: math.MaxUint32},
			{CPUPercent: -1, MemoryPercent: 101, Participants: math.MaxUint32},
		}

		loop := newTestLoop(t, func(cfg *Config) {
			cfg.Load = func() Load {
				load := loads[0]
				loads = append(loads[1:], Load{})
				return load
			}
		})

		loop.transport.respond = func(c madeCall) (callResponse, error) {
			if c.method == methodRegister {
				return callResponse{}, nil
			}
			return callResponse{}, newTestFailure(codes.InvalidArgument)
		}

		_ = loop.crashAfter(t, time.Minute)
		for _, gap := range loop.transport.gaps()[1:] {
			checkWithin(t, "an interval", gap, 9*time.Second, 11*time.Second)
		}
		if got, want := loop.transport.calls[1].report.load, (Load{MemoryPercent: 100, Meetings: math.MaxInt32}); got != want {
			t.Errorf("load = %+v, want %+v", got, want)
		}
		if got, want := loop.transport.calls[2].report.load, (Load{MemoryPercent: 100, Participants: math.MaxInt32}); got != want {
			t.Errorf("load = %+v, want %+v", got, want)
		}
	})
}

func TestRegistrationLoop_OperatorIntent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, func(cfg *Config) { cfg.Health = func() Health { return HealthDegraded } })
		deadline := time.Unix(2_000_000_000, 0)
		intents := []Intent{
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

		loop.transport.respond = func(madeCall) (callResponse, error) {
			return callResponse{intent: intents[min(len(loop.transport.calls), len(intents))-1]}, nil
		}
		_ = loop.crashAfter(t, 3*time.Minute)
		want := []EventKind{EventRegistered, EventDrain, EventDrain, EventDrain, EventUndrain, EventDrain}
		if got := loop.eventKinds(); !slices.Equal(got, want) {
			t.Fatalf("events = %v, want %v", got, want)
		}
		if got := loop.events[3].Intent; got != intents[5] {
			t.Errorf("intent = %+v, want %+v", got, intents[5])
		}

		for _, c := range loop.transport.calls[1:] {
			if c.report.health != HealthDegraded {
				t.Errorf("reported %v, want the result of Health", c.report.health)
			}
		}
	})
}
