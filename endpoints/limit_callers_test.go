package endpoints

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

func registrationOf(id string) any {
	return Request[service.Registration]{Value: service.Registration{ControllerID: id}}
}

func heartbeatOf(id string) any {
	return Request[service.FastHeartbeat]{Value: service.FastHeartbeat{ControllerID: id}}
}

func callerContext(t *testing.T, subject string) context.Context {
	t.Helper()
	return service.WithCaller(t.Context(), service.Caller{Subject: subject})
}

// creating returns the endpoint of registrations over a store with the known controllers.
func creating(known map[string]bool) func(context.Context, any) (any, error) {
	return func(_ context.Context, request any) (any, error) {
		return service.RegistrationResponse{Created: !known[controllerID(request)]}, nil
	}
}

func TestLimitCallers_KnownControllersAreNeverRefused(t *testing.T) {
	limiter, _ := newTestLimiter(t, 1)
	var lookedUp []string
	lookup := fakeLookup{known: map[string]bool{"known": true}, lookedUp: &lookedUp}
	middleware := LimitCallers(limiter, lookup, func(string) {})
	register := middleware(Operation{"RegisterMC", ScopeMC})(creating(lookup.known))
	beat := middleware(Operation{"FastHeartbeat", ScopeMC})
	ctx := callerContext(t, "shared")

	for range 100 {
		if _, err := beat(endpointReturning(nil))(ctx, heartbeatOf("known")); err != nil {
			t.Fatalf("heartbeat of a known controller = %v, want nil: it is not charged", err)
		}
	}

	if _, err := register(ctx, registrationOf("new-1")); err != nil {
		t.Errorf("first registration = %v, want nil", err)
	}
	if _, err := register(ctx, registrationOf("new-2")); !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("second registration of a new controller = %v, want ErrRateLimited", err)
	}

	for range 100 {
		if _, err := register(ctx, registrationOf("known")); err != nil {
			t.Fatalf("registration of a known controller = %v, want nil", err)
		}
	}

	lookedUp = nil
	for range 100 {
		if _, err := beat(endpointReturning(nil))(ctx, heartbeatOf("known")); err != nil {
			t.Fatalf("heartbeat of a known controller = %v, want nil", err)
		}
	}

	if len(lookedUp) > 0 {
		t.Errorf("heartbeats of an exhausted subject cost %d lookups, want none: the heartbeat itself shows it", len(lookedUp))
	}

	if _, err := beat(endpointReturning(service.ErrUnavailable))(ctx, heartbeatOf("known")); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("heartbeat while the store is down = %v, want ErrUnavailable", err)
	}

	failing := LimitCallers(limiter, fakeLookup{err: service.ErrUnavailable}, func(string) {})
	failingRegister := failing(Operation{"RegisterMC", ScopeMC})(endpointReturning(nil))
	if _, err := failingRegister(ctx, registrationOf("known")); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("registration while the store is down = %v, want ErrUnavailable", err)
	}
}

func TestLimitCallers_UnknownControllersAreCharged(t *testing.T) {
	limiter, _ := newTestLimiter(t, 2)
	limited := 0
	beat := LimitCallers(limiter, fakeLookup{}, func(string) { limited++ })(Operation{"FastHeartbeat", ScopeMC})
	ctx := callerContext(t, "a")

	invalid := service.Invalid("capacity is required")
	for i, want := range []error{invalid, invalid, service.ErrNotRegistered, service.ErrNotRegistered, service.ErrRateLimited, invalid} {
		outcome := want
		if errors.Is(want, service.ErrRateLimited) {
			outcome = service.ErrNotRegistered
		}
		if _, err := beat(endpointReturning(outcome))(ctx, heartbeatOf("unknown")); !errors.Is(err, want) {
			t.Errorf("heartbeat %d = %v, want %v", i, err, want)
		}
	}

	if limited != 1 {
		t.Errorf("refusals counted = %d, want 1", limited)
	}
}

// TestLimitCallers_EmptiedStore empties the store of a fleet that shares a subject. Each controller that gets NOT_FOUND tries to
// register once, and sends no more heartbeats if that is refused.
func TestLimitCallers_EmptiedStore(t *testing.T) {
	limiter, now := newTestLimiter(t, 60)
	registered := make(map[string]bool)
	middleware := LimitCallers(limiter, fakeLookup{known: registered}, func(string) {})
	ctx := callerContext(t, "shared")

	for second := 0; len(registered) < 200; second++ {
		if second > 200 {
			t.Fatalf("registered = %d of 200 controllers after %d s", len(registered), second)
		}

		for i := range 200 {
			id := fmt.Sprintf("mc-%d", i)
			outcome := error(nil)
			if !registered[id] {
				outcome = service.ErrNotRegistered
			}
			_, err := middleware(Operation{"FastHeartbeat", ScopeMC})(endpointReturning(outcome))(ctx, heartbeatOf(id))
			if !errors.Is(err, service.ErrNotRegistered) {
				continue
			}

			if _, err := middleware(Operation{"RegisterMC", ScopeMC})(creating(registered))(ctx, registrationOf(id)); err != nil {
				t.Fatalf("registration of %s, which got NOT_FOUND = %v, want nil", id, err)
			}
			registered[id] = true
		}

		*now = now.Add(time.Second)
	}
}

// TestLimitCallers_LateRegistrations registers controllers up to 10 s after NOT_FOUND, the time after which they give up.
func TestLimitCallers_LateRegistrations(t *testing.T) {
	limiter, now := newTestLimiter(t, 60)
	middleware := LimitCallers(limiter, fakeLookup{}, func(string) {})
	ctx := callerContext(t, "shared")
	sent := 0
	for range 11 {
		for {
			_, err := middleware(Operation{"FastHeartbeat", ScopeMC})(endpointReturning(service.ErrNotRegistered))(ctx, heartbeatOf("mc"))
			if !errors.Is(err, service.ErrNotRegistered) {
				break
			}
			sent++
		}
		*now = now.Add(time.Second)
	}

	*now = now.Add(-time.Second)
	for i := range sent {
		if _, err := middleware(Operation{"RegisterMC", ScopeMC})(creating(nil))(ctx, registrationOf(fmt.Sprintf("mc-%d", i))); err != nil {
			t.Fatalf("registration %d of the %d that got NOT_FOUND = %v, want nil", i, sent, err)
		}
	}
}

func TestLimitCallers_NotFoundOnlyIfRegistrationIsAllowed(t *testing.T) {
	limiter, _ := newTestLimiter(t, 2)
	middleware := LimitCallers(limiter, fakeLookup{}, func(string) {})
	register := middleware(Operation{"RegisterMC", ScopeMC})(creating(nil))
	beat := middleware(Operation{"FastHeartbeat", ScopeMC})(endpointReturning(service.ErrNotRegistered))
	ctx := callerContext(t, "shared")

	for i := range 2 {
		if _, err := register(ctx, registrationOf(fmt.Sprintf("new-%d", i))); err != nil {
			t.Fatalf("registration = %v, want nil", err)
		}
	}

	if _, err := beat(ctx, heartbeatOf("lost")); !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("heartbeat = %v, want ErrRateLimited: its one registration would be refused", err)
	}
}

func TestLimitCallers_InvalidIDIsNotLookedUp(t *testing.T) {
	limiter, _ := newTestLimiter(t, 1)
	var lookedUp []string
	lookup := fakeLookup{err: service.ErrUnavailable, lookedUp: &lookedUp}
	invalid := service.Invalid("controller_id contains invalid characters")
	register := LimitCallers(limiter, lookup, func(string) {})(Operation{"RegisterMC", ScopeMC})(endpointReturning(invalid))
	beat := LimitCallers(limiter, lookup, func(string) {})(Operation{"FastHeartbeat", ScopeMC})(endpointReturning(invalid))

	for range 3 {
		for _, id := range []string{"\x00", "", "a.b", strings.Repeat("a", 256)} {
			if _, err := register(callerContext(t, "a"), registrationOf(id)); !errors.Is(err, invalid) {
				t.Errorf("registration of %.10q = %v, want that it is invalid", id, err)
			}
			if _, err := beat(callerContext(t, "a"), heartbeatOf(id)); !errors.Is(err, invalid) {
				t.Errorf("heartbeat of %.10q = %v, want that it is invalid", id, err)
			}
		}
	}

	if len(lookedUp) > 0 {
		t.Errorf("looked up %q, want nothing", lookedUp)
	}
}

// TestLimitCallers_ForbiddenCallsAreCharged checks that forbidden calls use the quota of the subject's other calls, and never that of
// its registrations.
func TestLimitCallers_ForbiddenCallsAreCharged(t *testing.T) {
	limiter, _ := newTestLimiter(t, 3)
	callers := fakeAuthenticator{
		"mc":    {Subject: "shared", Scopes: []string{"mc:register"}},
		"other": {Subject: "shared", Scopes: []string{"x"}},
	}

	var lookedUp []string
	chain := Chain(
		Authenticate(callers, AuthPolicy{MCScopes: []string{"mc:register"}}),
		LimitCallers(limiter, fakeLookup{known: map[string]bool{"mc-1": true}, lookedUp: &lookedUp}, func(string) {}),
	)

	e := New(allowingService{}, chain)
	with := func(token string) context.Context {
		return WithCall(t.Context(), &Call{Authorization: []string{token}})
	}

	register := func(token, id string) error {
		_, err := e.RegisterMC.Call(with(token), service.Registration{ControllerID: id}, nil)
		return err
	}

	beat := func(token string) error {
		_, err := e.FastHeartbeat.Call(with(token), service.FastHeartbeat{ControllerID: "mc-1"}, nil)
		return err
	}

	stream := func(token string) error {
		_, err := e.StreamHeartbeats.Call(with(token), service.HeartbeatStream{}, nil)
		return err
	}

	for name, err := range map[string]error{"registration": register("other", "mc-1"), "heartbeat": beat("other"), "stream": stream("other")} {
		if !errors.Is(err, service.ErrForbidden) {
			t.Errorf("%s = %v, want ErrForbidden", name, err)
		}
	}

	for name, err := range map[string]error{"registration": register("other", "mc-1"), "heartbeat": beat("other"), "stream": stream("other")} {
		if !errors.Is(err, service.ErrRateLimited) {
			t.Errorf("%s of an exhausted subject = %v, want ErrRateLimited", name, err)
		}
	}

	for name, err := range map[string]error{"registration": register("mc", "mc-2"), "heartbeat": beat("mc"), "stream": stream("mc")} {
		if err != nil {
			t.Errorf("%s with the right scope = %v, want nil", name, err)
		}
	}

	if len(lookedUp) > 0 {
		t.Errorf("looked up %q, want nothing", lookedUp)
	}
}

// allowingService accepts every call.
type allowingService struct{ service.Service }

func (allowingService) RegisterMC(context.Context, service.Registration) (service.RegistrationResponse, error) {
	return service.RegistrationResponse{}, nil
}

func (allowingService) FastHeartbeat(context.Context, service.FastHeartbeat) (service.Acknowledgement, error) {
	return service.Acknowledgement{}, nil
}

func (allowingService) StreamHeartbeats(context.Context, service.HeartbeatStream) (service.HeartbeatStream, error) {
	return service.HeartbeatStream{}, nil
}
