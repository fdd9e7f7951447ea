package endpoints

import (
	"errors"
	"testing"

	"darktower.example/global-controller/service"
)

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
