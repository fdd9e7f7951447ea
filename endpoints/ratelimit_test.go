package endpoints

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

type fakeDirectory struct {
	known map[string]bool
	err   error
}

func (f fakeDirectory) Known(_ context.Context, id string) (bool, error) { return f.known[id], f.err }

type fakeRecognizer map[string]bool

func (f fakeRecognizer) Recognized(authorization []string) bool {
	return len(authorization) == 1 && f[authorization[0]]
}

func newTestLimiter(t *testing.T, perMinute int) (*Limiter, *time.Time) {
	t.Helper()
	now := time.Unix(1000, 0)
	l, err := NewLimiter(perMinute, func() time.Time { return now })
	if err != nil {
		t.Fatalf("NewLimiter() = %v", err)
	}
	return l, &now
}

// answer is an endpoint that always ends with err.
func answer(err error) func(context.Context, any) (any, error) {
	return func(context.Context, any) (any, error) { return nil, err }
}

func TestACallersAllowanceFillsAgain(t *testing.T) {
	limiter, now := newTestLimiter(t, 60)
	limited := 0
	read := LimitCallers(limiter, fakeDirectory{}, func(string) { limited++ })(Operation{"GetController", ScopeRead})(answer(nil))
	ctx := service.WithCaller(t.Context(), service.Caller{Subject: "a"})
	for i := range 60 {
		if _, err := read(ctx, nil); err != nil {
			t.Fatalf("call %d = %v, want nil", i, err)
		}
	}
	if _, err := read(ctx, nil); !errors.Is(err, service.ErrRateLimited) || limited != 1 {
		t.Errorf("call 61 = %v, counted %d, want ErrRateLimited, 1", err, limited)
	}
	if _, err := read(service.WithCaller(t.Context(), service.Caller{Subject: "b"}), nil); err != nil {
		t.Errorf("another caller = %v, want nil", err)
	}
	*now = now.Add(time.Second)
	if _, err := read(ctx, nil); err != nil {
		t.Errorf("a second later = %v, want nil", err)
	}
}

func TestKnownControllersAreNeverRefused(t *testing.T) {
	limiter, _ := newTestLimiter(t, 1)
	directory := fakeDirectory{known: map[string]bool{"known": true}}
	middleware := LimitCallers(limiter, directory, func(string) {})
	register := middleware(Operation{"RegisterMC", ScopeMC})(answer(nil))
	beat := middleware(Operation{"FastHeartbeat", ScopeMC})
	ctx := service.WithCaller(t.Context(), service.Caller{Subject: "shared"})
	registration := func(id string) any {
		return Request[service.Registration]{Value: service.Registration{ControllerID: id}}
	}
	heartbeat := func(id string) any {
		return Request[service.FastHeartbeat]{Value: service.FastHeartbeat{ControllerID: id}}
	}
	for range 100 {
		if _, err := beat(answer(nil))(ctx, heartbeat("known")); err != nil {
			t.Fatalf("heartbeat of a known controller = %v, want nil: it is not charged", err)
		}
	}
	if _, err := register(ctx, registration("new-1")); err != nil {
		t.Errorf("first registration = %v, want nil", err)
	}
	if _, err := register(ctx, registration("new-2")); !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("second registration of a new controller = %v, want ErrRateLimited", err)
	}
	for range 100 {
		if _, err := register(ctx, registration("known")); err != nil {
			t.Fatalf("registration of a known controller = %v, want nil", err)
		}
		if _, err := beat(answer(nil))(ctx, heartbeat("known")); err != nil {
			t.Fatalf("heartbeat of a known controller = %v, want nil", err)
		}
	}
	if _, err := beat(answer(service.ErrNotRegistered))(ctx, heartbeat("nobody")); !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("heartbeat of nobody = %v, want ErrRateLimited", err)
	}
	trouble := LimitCallers(limiter, fakeDirectory{err: service.ErrUnavailable}, func(string) {})(Operation{"FastHeartbeat", ScopeMC})(answer(nil))
	if _, err := trouble(ctx, heartbeat("known")); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("heartbeat while the store is down = %v, want ErrUnavailable", err)
	}
}

func TestHeartbeatsForNobodyAreCharged(t *testing.T) {
	limiter, _ := newTestLimiter(t, 2)
	beat := LimitCallers(limiter, fakeDirectory{}, func(string) {})(Operation{"FastHeartbeat", ScopeMC})
	ctx := service.WithCaller(t.Context(), service.Caller{Subject: "a"})
	for i, want := range []error{service.ErrNotRegistered, service.ErrNotRegistered, service.ErrRateLimited} {
		if _, err := beat(answer(service.ErrNotRegistered))(ctx, Request[service.FastHeartbeat]{}); !errors.Is(err, want) {
			t.Errorf("heartbeat %d = %v, want %v", i, err, want)
		}
	}
}

func TestAddressesAreChargedForFailedAuthentications(t *testing.T) {
	limiter, _ := newTestLimiter(t, 2)
	middleware := LimitAddresses(limiter, fakeRecognizer{"good": true}, func(string) {})(Operation{"FastHeartbeat", ScopeMC})
	ctx := func(address string, authorization ...string) context.Context {
		return WithCall(t.Context(), &Call{Address: address, Authorization: authorization})
	}
	refused := fmt.Errorf("bad: %w", service.ErrUnauthenticated)
	for i, want := range []error{service.ErrUnauthenticated, service.ErrUnauthenticated, service.ErrRateLimited} {
		if _, err := middleware(answer(refused))(ctx("10.0.0.1"), nil); !errors.Is(err, want) {
			t.Errorf("bad call %d = %v, want %v", i, err, want)
		}
	}
	if _, err := middleware(answer(nil))(ctx("10.0.0.1", "good"), nil); err != nil {
		t.Errorf("a recognized token from that address = %v, want nil", err)
	}
	if _, err := middleware(answer(nil))(ctx("10.0.0.1", "renewed"), nil); err != nil {
		t.Errorf("a new token from that address = %v, want nil: it is verified", err)
	}
	if _, err := middleware(answer(refused))(ctx("10.0.0.1", "bad"), nil); !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("a bad token from that address = %v, want ErrRateLimited", err)
	}
	if _, err := middleware(answer(refused))(ctx("10.0.0.2"), nil); !errors.Is(err, service.ErrUnauthenticated) {
		t.Errorf("another address = %v, want ErrUnauthenticated", err)
	}
	var last error
	for range shedVerifications {
		_, last = middleware(answer(nil))(ctx("10.0.0.1", "renewed"), nil)
	}
	if !errors.Is(last, service.ErrUnavailable) {
		t.Errorf("a flood of new tokens ends in %v, want ErrUnavailable", last)
	}
}

func TestAddressKeys(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "2001:db8::1": "2001:db8::/64", "2001:db8::2": "2001:db8::/64", "fe80::1%eth0": "fe80::/64", "::ffff:10.0.0.1": "::ffff:10.0.0.1", "@": "@",
	} {
		if got := addressKey(address); got != want {
			t.Errorf("addressKey(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestNothingPassesAClosedGate(t *testing.T) {
	open := false
	gated := Gate(func() bool { return open })(Operation{})(answer(nil))
	if _, err := gated(t.Context(), nil); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("closed = %v, want ErrUnavailable", err)
	}
	open = true
	if _, err := gated(t.Context(), nil); err != nil {
		t.Errorf("open = %v, want nil", err)
	}
}
