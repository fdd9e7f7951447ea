package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// shutDownAfter runs the loop for d, and then shuts it down. It returns when the shutdown began.
func (loop *testLoop) shutDownAfter(t *testing.T, d time.Duration) (time.Time, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(d, cancel)
	began := time.Now()
	err := loop.run(ctx)
	return began.Add(d), err
}

// callsSince returns the calls from then on.
func (f *fakeTransport) callsSince(then time.Time) []madeCall {
	return slices.DeleteFunc(slices.Clone(f.calls), func(c madeCall) bool { return c.at.Before(then) })
}

func TestShutdown_FinalCalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shutdown Shutdown
		want     []string
	}{
		"a last heartbeat": {Shutdown{}, []string{methodFast}},
		"deregistration":   {Shutdown{Deregister: true}, []string{methodFast, methodDeregister}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				loop := newTestLoop(t, func(cfg *Config) { cfg.Shutdown = c.shutdown })
				stopped, err := loop.shutDownAfter(t, 65*time.Second)
				if err != nil {
					t.Fatalf("run() = %v", err)
				}

				var got []string
				for _, call := range loop.transport.callsSince(stopped) {
					got = append(got, call.method)
					if call.method == methodFast && call.report.health != HealthDraining {
						t.Errorf("reported %v, want draining", call.report.health)
					}
				}

				if !slices.Equal(got, c.want) {
					t.Errorf("calls = %v, want %v", got, c.want)
				}
				if last := loop.events[len(loop.events)-1]; last.Kind != EventStopped || last.Err != nil {
					t.Errorf("the last event is %+v, want stopped", last)
				}
			})
		})
	}
}

func TestShutdown_NoCallsIfNotRegistered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fail  codes.Code
		cause error
	}{
		"never registered": {codes.Unavailable, errors.New("stop")},
		"crashed":          {codes.OK, ErrAbandon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				loop := newTestLoop(t, func(cfg *Config) { cfg.Shutdown.Deregister = true })
				loop.transport.respond = func(madeCall) (callResponse, error) {
					if c.fail != codes.OK {
						return callResponse{}, newTestFailure(c.fail)
					}
					return callResponse{}, nil
				}

				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Minute, func() { cancel(c.cause) })
				began := time.Now()
				if err := loop.run(ctx); err != nil {
					t.Errorf("run() = %v", err)
				}

				checkWithin(t, "ran", time.Since(began), time.Minute, time.Minute)
				if got := loop.transport.callsSince(began.Add(time.Minute)); len(got) > 0 {
					t.Errorf("calls %v, want none", got)
				}
				if slices.Contains(loop.eventKinds(), EventStopped) {
					t.Error("the client emitted EventStopped, want no event")
				}
			})
		})
	}
}

func TestShutdown_WaitsForMeetings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		last, most time.Duration // How long the load lasts, and how long the shutdown waits at most.
		want       time.Duration
		load       Load
	}{
		"until the last meeting ends":     {95 * time.Second, time.Hour, 95 * time.Second, Load{Meetings: 1}},
		"until the limit":                 {time.Hour, 2 * time.Minute, 2 * time.Minute, Load{Meetings: 1}},
		"there are none":                  {0, time.Hour, 0, Load{Meetings: 1}},
		"until the last participant goes": {95 * time.Second, time.Hour, 95 * time.Second, Load{Participants: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const uptime = 45 * time.Second
				began := time.Now()
				loop := newTestLoop(t, func(cfg *Config) {
					cfg.Shutdown = Shutdown{WaitForMeetings: c.most, Deregister: true}
					cfg.Load = func() Load {
						if time.Since(began) < uptime+c.last {
							return c.load
						}

						return Load{}
					}
				})

				mustForget := true
				loop.transport.respond = func(madeCall) (callResponse, error) {
					// During the wait, the Global Controller loses the controller, which registers again.
					if at := time.Since(began) - uptime; at > 30*time.Second && mustForget {
						mustForget = false
						return callResponse{}, newTestFailure(codes.NotFound)
					}
					return callResponse{}, nil
				}

				stopped, err := loop.shutDownAfter(t, uptime)
				if err != nil {
					t.Fatalf("run() = %v", err)
				}
				checkWithin(t, "the shutdown", time.Since(stopped), c.want, c.want+meetingsPollInterval)
				calls := loop.transport.callsSince(stopped)
				if last := calls[len(calls)-1].method; last != methodDeregister {
					t.Errorf("the last call is %s, want the deregistration", last)
				}
				if want := int(c.want / (12 * time.Second)); len(calls) < want {
					t.Errorf("%d calls, want at least %d heartbeats", len(calls), want)
				}

				for _, call := range calls {
					if (call.method == methodFast || call.method == methodComprehensive) && call.report.health != HealthDraining {
						t.Errorf("reported %v, want draining", call.report.health)
					}
				}
			})
		})
	}
}

func TestShutdown_FailedFinalCalls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code       codes.Code
		hangs      time.Duration
		calls      int
		want       error
		kind       EventKind
		isSuccess  bool
		deregister bool
	}{
		"unavailable":                      {codes.Unavailable, 0, 2 * maxFinalAttempts, nil, EventStopped, false, true},
		"unavailable, to a last heartbeat": {codes.Unavailable, 0, maxFinalAttempts, nil, EventStopped, false, false},
		"timeout":                          {codes.DeadlineExceeded, 10 * time.Second, 1, nil, EventStopped, false, false},
		"not found":                        {codes.NotFound, 0, 2, nil, EventStopped, true, true},
		"not offered":                      {codes.Unimplemented, 0, 2, nil, EventStopped, false, true},
		"superseded":                       {codes.FailedPrecondition, 0, 1, ErrSuperseded, EventSuperseded, false, true},
		"superseded, to a last heartbeat":  {codes.FailedPrecondition, 0, 1, ErrSuperseded, EventSuperseded, false, false},
		"without permission":               {codes.PermissionDenied, 0, 2, nil, EventStopped, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				loop := newTestLoop(t, func(cfg *Config) { cfg.Shutdown.Deregister = c.deregister })
				began := time.Now()
				loop.transport.respond = func(madeCall) (callResponse, error) {
					if time.Since(began) < 15*time.Second {
						return callResponse{}, nil
					}

					time.Sleep(c.hangs)
					return callResponse{}, newTestFailure(c.code)
				}

				stopped, err := loop.shutDownAfter(t, 15*time.Second)
				if !errors.Is(err, c.want) {
					t.Errorf("run() = %v, want %v", err, c.want)
				}

				checkWithin(t, "the shutdown", time.Since(stopped), 0, 10*time.Second)
				if got := len(loop.transport.callsSince(stopped)); got != c.calls {
					t.Errorf("called %d times, want %d", got, c.calls)
				}

				last := loop.events[len(loop.events)-1]
				if last.Kind != c.kind || (last.Err == nil) != c.isSuccess {
					t.Errorf("the last event is %+v, want %v", last, c.kind)
				}
			})
		})
	}
}

func TestShutdown_DuringARegistration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, func(cfg *Config) { cfg.Shutdown = Shutdown{Deregister: true, WaitForMeetings: time.Hour} })
		ctx, cancel := context.WithCancel(t.Context())
		loop.transport.respond = func(c madeCall) (callResponse, error) {
			if c.method == methodRegister {
				cancel()
				return callResponse{}, newTestFailure(codes.Canceled)
			}
			return callResponse{}, nil
		}

		if err := loop.run(ctx); err != nil {
			t.Errorf("run() = %v", err)
		}
		if got, want := loop.transport.methods(), []string{methodRegister, methodFast, methodDeregister}; !slices.Equal(got, want) {
			t.Errorf("calls = %v, want %v", got, want)
		}
	})
}

func TestShutdown_SupersededWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		loop := newTestLoop(t, func(cfg *Config) { cfg.Shutdown.WaitForMeetings = time.Hour })
		began := time.Now()
		loop.transport.respond = func(madeCall) (callResponse, error) {
			if time.Since(began) > time.Minute {
				return callResponse{}, newTestFailure(codes.FailedPrecondition)
			}
			return callResponse{}, nil
		}
		if _, err := loop.shutDownAfter(t, 5*time.Second); !errors.Is(err, ErrSuperseded) {
			t.Errorf("run() = %v, want %v", err, ErrSuperseded)
		}
	})
}
