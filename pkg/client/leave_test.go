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

// stopAfter runs the session so long, and then shuts it down. It returns when that began.
func (tr *trial) stopAfter(t *testing.T, d time.Duration) (time.Time, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(d, cancel)
	began := time.Now()
	err := tr.run(ctx)
	return began.Add(d), err
}

// after are the calls from then on.
func (f *fakeCalls) after(then time.Time) []call {
	return slices.DeleteFunc(slices.Clone(f.calls), func(c call) bool { return c.at.Before(then) })
}

func TestGoodbye(t *testing.T) {
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
				tr := newTrial(t, func(cfg *Config) { cfg.Shutdown = c.shutdown })
				stopped, err := tr.stopAfter(t, 65*time.Second)
				if err != nil {
					t.Fatalf("run() = %v", err)
				}
				var got []string
				for _, call := range tr.calls.after(stopped) {
					got = append(got, call.method)
					if call.method == methodFast && call.report.health != HealthDraining {
						t.Errorf("reported %v, want draining", call.report.health)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("calls = %v, want %v", got, c.want)
				}
				if last := tr.events[len(tr.events)-1]; last.Kind != EventStopped || last.Err != nil {
					t.Errorf("the last event is %+v, want goodbye", last)
				}
			})
		})
	}
}

func TestWhoIsNotRegisteredSaysNothing(t *testing.T) {
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
				tr := newTrial(t, func(cfg *Config) { cfg.Shutdown.Deregister = true })
				tr.calls.answer = func(call) (answer, error) {
					if c.fail != codes.OK {
						return answer{}, failed(c.fail)
					}
					return answer{}, nil
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Minute, func() { cancel(c.cause) })
				began := time.Now()
				if err := tr.run(ctx); err != nil {
					t.Errorf("run() = %v", err)
				}
				within(t, "ran", time.Since(began), time.Minute, time.Minute)
				if got := tr.calls.after(began.Add(time.Minute)); len(got) > 0 {
					t.Errorf("called %v, want nothing", got)
				}
				if slices.Contains(tr.kinds(), EventStopped) {
					t.Error("said goodbye")
				}
			})
		})
	}
}

func TestAShutdownWaitsForTheMeetings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		last, most time.Duration // How long the load lasts, and how long it is waited for.
		want       time.Duration
		load       Load
	}{
		"until the last is over":          {95 * time.Second, time.Hour, 95 * time.Second, Load{Meetings: 1}},
		"no longer than given":            {time.Hour, 2 * time.Minute, 2 * time.Minute, Load{Meetings: 1}},
		"there are none":                  {0, time.Hour, 0, Load{Meetings: 1}},
		"until the last participant goes": {95 * time.Second, time.Hour, 95 * time.Second, Load{Participants: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const life = 45 * time.Second
				began := time.Now()
				tr := newTrial(t, func(cfg *Config) {
					cfg.Shutdown = Shutdown{WaitForMeetings: c.most, Deregister: true}
					cfg.Load = func() Load {
						if time.Since(began) < life+c.last {
							return c.load
						}
						return Load{}
					}
				})
				forget := true
				tr.calls.answer = func(call) (answer, error) {
					// In the middle of the wait the controller is forgotten, and so it registers again.
					if at := time.Since(began) - life; at > 30*time.Second && forget {
						forget = false
						return answer{}, failed(codes.NotFound)
					}
					return answer{}, nil
				}
				stopped, err := tr.stopAfter(t, life)
				if err != nil {
					t.Fatalf("run() = %v", err)
				}
				within(t, "the shutdown", time.Since(stopped), c.want, c.want+meetingsPoll)
				calls := tr.calls.after(stopped)
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

func TestAGoodbyeThatNobodyHears(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code       codes.Code
		hangs      time.Duration
		calls      int
		want       error
		kind       EventKind
		heard      bool
		deregister bool
	}{
		"gone":                         {codes.Unavailable, 0, 2 * farewells, nil, EventStopped, false, true},
		"gone, to a last heartbeat":    {codes.Unavailable, 0, farewells, nil, EventStopped, false, false},
		"hanging":                      {codes.DeadlineExceeded, 10 * time.Second, 1, nil, EventStopped, false, false},
		"forgotten":                    {codes.NotFound, 0, 2, nil, EventStopped, true, true},
		"not offered":                  {codes.Unimplemented, 0, 2, nil, EventStopped, false, true},
		"superseded":                   {codes.FailedPrecondition, 0, 1, ErrSuperseded, EventSuperseded, false, true},
		"superseded, last words":       {codes.FailedPrecondition, 0, 1, ErrSuperseded, EventSuperseded, false, false},
		"refused for want of a right ": {codes.PermissionDenied, 0, 2, nil, EventStopped, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr := newTrial(t, func(cfg *Config) { cfg.Shutdown.Deregister = c.deregister })
				began := time.Now()
				tr.calls.answer = func(call) (answer, error) {
					if time.Since(began) < 15*time.Second {
						return answer{}, nil
					}
					time.Sleep(c.hangs)
					return answer{}, failed(c.code)
				}
				stopped, err := tr.stopAfter(t, 15*time.Second)
				if !errors.Is(err, c.want) {
					t.Errorf("run() = %v, want %v", err, c.want)
				}
				within(t, "the shutdown", time.Since(stopped), 0, 10*time.Second)
				if got := len(tr.calls.after(stopped)); got != c.calls {
					t.Errorf("called %d times, want %d", got, c.calls)
				}
				last := tr.events[len(tr.events)-1]
				if last.Kind != c.kind || (last.Err == nil) != c.heard {
					t.Errorf("the last event is %+v, want %v", last, c.kind)
				}
			})
		})
	}
}

func TestARegistrationThatWasCutOffIsTakenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, func(cfg *Config) { cfg.Shutdown = Shutdown{Deregister: true, WaitForMeetings: time.Hour} })
		ctx, cancel := context.WithCancel(t.Context())
		tr.calls.answer = func(c call) (answer, error) {
			if c.method == methodRegister {
				cancel()
				return answer{}, failed(codes.Canceled)
			}
			return answer{}, nil
		}
		if err := tr.run(ctx); err != nil {
			t.Errorf("run() = %v", err)
		}
		if got, want := tr.calls.methods(), []string{methodRegister, methodFast, methodDeregister}; !slices.Equal(got, want) {
			t.Errorf("calls = %v, want %v", got, want)
		}
	})
}

func TestWhatEndsAWaitForMeetings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := newTrial(t, func(cfg *Config) { cfg.Shutdown.WaitForMeetings = time.Hour })
		began := time.Now()
		tr.calls.answer = func(call) (answer, error) {
			if time.Since(began) > time.Minute {
				return answer{}, failed(codes.FailedPrecondition)
			}
			return answer{}, nil
		}
		if _, err := tr.stopAfter(t, 5*time.Second); !errors.Is(err, ErrSuperseded) {
			t.Errorf("run() = %v, want %v", err, ErrSuperseded)
		}
	})
}
