package endpoints

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

// fleetStore is a store with the controllers of one subject.
type fleetStore struct {
	known  map[string]bool
	counts atomic.Int32
	err    error
}

func (f *fleetStore) IsRegistered(_ context.Context, id string) (bool, error) {
	return f.known[id], nil
}

func (f *fleetStore) CountOwned(context.Context, string) (int, error) {
	f.counts.Add(1)
	return len(f.known), f.err
}

func (f *fleetStore) register(_ context.Context, request any) (any, error) {
	id := controllerID(request)
	created := !f.known[id]
	f.known[id] = true
	return service.RegistrationResponse{Created: created}, nil
}

// newFleet returns the operations of a fleet whose subject may own limit controllers, at 600 calls a minute.
func newFleet(t *testing.T, store *fleetStore, limit int) (register, beat func(id string) error, now *time.Time) {
	t.Helper()
	clock := time.Unix(1000, 0)
	limiter, err := NewCallerLimiter(600, limit, func() time.Time { return clock })
	if err != nil {
		t.Fatalf("NewCallerLimiter() = %v", err)
	}

	middleware := LimitCallers(limiter, store, func(string) {})
	registering := middleware(Operation{"RegisterMC", ScopeMC})(store.register)
	beating := middleware(Operation{"FastHeartbeat", ScopeMC})(func(_ context.Context, request any) (any, error) {
		if !store.known[controllerID(request)] {
			return nil, service.ErrNotRegistered
		}
		return service.Acknowledgement{}, nil
	})

	register = func(id string) error {
		_, err := registering(callerContext(t, "shared"), registrationOf(id))
		return err
	}
	beat = func(id string) error {
		_, err := beating(callerContext(t, "shared"), heartbeatOf(id))
		return err
	}
	return register, beat, &clock
}

// TestLimitCallers_LostTable loses the registrations of a fleet. Each of 10,000 controllers registers only once after NOT_FOUND.
func TestLimitCallers_LostTable(t *testing.T) {
	store := &fleetStore{known: map[string]bool{}}
	register, beat, now := newFleet(t, store, 20_000)

	for second := 0; len(store.known) < 10_000; second += 10 {
		if second > 60 {
			t.Fatalf("%d of 10,000 controllers are registered after 60 s", len(store.known))
		}

		var notFound []string
		for i := range 10_000 {
			id := fmt.Sprintf("mc-%d", i)
			if err := beat(id); errors.Is(err, service.ErrNotRegistered) {
				notFound = append(notFound, id)
			} else if err != nil && !errors.Is(err, service.ErrRateLimited) {
				t.Fatalf("heartbeat of %s = %v", id, err)
			}
		}

		if len(notFound) > maxNotFoundPlaces {
			t.Fatalf("%d controllers register at once, want at most %d", len(notFound), maxNotFoundPlaces)
		}

		for _, id := range notFound {
			if err := register(id); err != nil {
				t.Fatalf("registration of %s = %v, want nil: it tries once", id, err)
			}
		}
		*now = now.Add(10 * time.Second)
	}
}

func TestLimitCallers_OwnerLimit(t *testing.T) {
	store := &fleetStore{known: map[string]bool{"old": true}}
	register, beat, now := newFleet(t, store, 3)

	for _, id := range []string{"mc-1", "mc-2"} {
		if err := register(id); err != nil {
			t.Fatalf("registration of %s = %v, want nil", id, err)
		}
	}

	var full *service.OwnerLimitError
	if err := register("mc-3"); !errors.As(err, &full) || full.Owned != 3 || full.Limit != 3 || !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("registration beyond the limit = %v, want OwnerLimitError with 3 of 3", err)
	}
	if err := beat("mc-3"); !errors.As(err, &full) {
		t.Errorf("heartbeat of a controller that may not register = %v, want OwnerLimitError: it would send no more heartbeats", err)
	}

	for _, id := range []string{"old", "mc-1"} {
		if err := errors.Join(register(id), beat(id)); err != nil {
			t.Errorf("registration and heartbeat of %s, which is known = %v, want nil", id, err)
		}
	}

	delete(store.known, "mc-1")
	*now = now.Add(countLifetime)
	for deadline := time.Now().Add(10 * time.Second); register("mc-3") != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a place that became free was not found")
		}
	}
}

func TestLimitCallers_StolenToken(t *testing.T) {
	store := &fleetStore{known: map[string]bool{}}
	register, _, _ := newFleet(t, store, 1000)
	for i := range 5000 {
		id := fmt.Sprintf("mc-%d", i)
		if register(id) == nil {
			delete(store.known, id) // It deregisters what it made.
		}
	}

	created := 0
	for i := range 100 {
		if register(fmt.Sprintf("again-%d", i)) == nil {
			created++
		}
	}

	if created > 0 {
		t.Errorf("created %d more controllers at once, want none after 1,000", created)
	}
}

func TestOwnerCounts_CountFails(t *testing.T) {
	store := &fleetStore{known: map[string]bool{}, err: service.ErrUnavailable}
	register, _, _ := newFleet(t, store, 10)
	if err := register("mc"); err != nil {
		t.Errorf("registration = %v, want nil: an unknown count refuses nothing", err)
	}
}

func TestOwnerCounts_OneCountASecond(t *testing.T) {
	store := &fleetStore{known: map[string]bool{}}
	register, _, _ := newFleet(t, store, 100)
	for i := range 50 {
		if err := register(fmt.Sprintf("mc-%d", i)); err != nil {
			t.Fatalf("registration = %v", err)
		}
	}
	if n := store.counts.Load(); n != 1 {
		t.Errorf("counted %d times, want once", n)
	}
}

// TestLimitCallers_Superseded checks that a replaced process is charged, although its controller is registered.
func TestLimitCallers_Superseded(t *testing.T) {
	limiter, _ := newTestLimiter(t, 2)
	middleware := LimitCallers(limiter, fakeLookup{known: map[string]bool{"mc": true}}, func(string) {})
	beat := middleware(Operation{"FastHeartbeat", ScopeMC})(endpointReturning(service.ErrSuperseded))
	register := middleware(Operation{"RegisterMC", ScopeMC})(endpointReturning(service.ErrSuperseded))

	if _, err := register(callerContext(t, "a"), registrationOf("mc")); !errors.Is(err, service.ErrSuperseded) {
		t.Errorf("registration = %v, want ErrSuperseded", err)
	}
	if _, err := beat(callerContext(t, "a"), heartbeatOf("mc")); !errors.Is(err, service.ErrSuperseded) {
		t.Errorf("heartbeat = %v, want ErrSuperseded", err)
	}
	if _, err := beat(callerContext(t, "a"), heartbeatOf("mc")); !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("heartbeat beyond the allowance = %v, want ErrRateLimited", err)
	}
	if _, err := register(callerContext(t, "a"), registrationOf("mc")); !errors.Is(err, service.ErrSuperseded) {
		t.Errorf("registration beyond the quota = %v, want ErrSuperseded: it ends the process", err)
	}
}

// TestLimitCallers_FleetBesideUnknownController checks that a subject that has used up its quota takes no places from others.
func TestLimitCallers_FleetBesideUnknownController(t *testing.T) {
	limiter, _ := newTestLimiter(t, 60)
	middleware := LimitCallers(limiter, fakeLookup{}, func(string) {})
	beat := middleware(Operation{"FastHeartbeat", ScopeMC})(endpointReturning(service.ErrNotRegistered))

	for range 10 * maxNotFoundPlaces {
		_, _ = beat(callerContext(t, "other"), heartbeatOf("unknown"))
	}
	if _, err := beat(callerContext(t, "fleet"), heartbeatOf("mc")); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("heartbeat of another subject = %v, want ErrNotRegistered", err)
	}
}

func TestNotFoundLimiter_FollowsStoreRate(t *testing.T) {
	now := time.Unix(1000, 0)
	limiter := newNotFoundLimiter(func() time.Time { return now })
	takeAll := func() (n int) {
		for limiter.takePlace() {
			n++
		}
		return n
	}

	if got := takeAll(); got != initialNotFoundPlaces {
		t.Errorf("places at first = %d, want %d", got, initialNotFoundPlaces)
	}

	for range 100 {
		limiter.releasePlace(time.Millisecond, false)
	}

	if got := takeAll(); got != 200 {
		t.Errorf("places after 100 quick registrations = %d, want their places and as many more", got)
	}

	limiter.releasePlace(0, true)
	limiter.releasePlace(slowRegistration+1, false)
	if got := takeAll(); got != 0 {
		t.Errorf("places after registrations that failed = %d, want none of %d places", got, limiter.limit)
	}

	now = now.Add(10 * time.Second)
	if got := takeAll(); got != 0 {
		t.Errorf("places 10 s later = %d, want none: they may still register", got)
	}

	now = now.Add(time.Second)
	if got := takeAll(); got != minNotFoundPlaces {
		t.Errorf("places 11 s later = %d, want the least, which is more than a quarter of 300", got)
	}
}
