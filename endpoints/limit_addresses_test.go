package endpoints

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

type fakeLookup struct {
	known map[string]bool
	owned int
	err   error
	// lookedUp gets the ids that were looked up. It may be nil.
	lookedUp *[]string
}

func (f fakeLookup) IsRegistered(_ context.Context, id string) (bool, error) {
	if f.lookedUp != nil {
		*f.lookedUp = append(*f.lookedUp, id)
	}
	return f.known[id], f.err
}

func (f fakeLookup) CountOwned(context.Context, string) (int, error) { return f.owned, f.err }

// fakePrechecker has its tokens cached; only "garbage" is not well-formed.
type fakePrechecker map[string]bool

func (f fakePrechecker) IsCached(authorization []string) bool {
	return len(authorization) == 1 && f[authorization[0]]
}

func (f fakePrechecker) IsWellFormed(authorization []string) bool {
	return len(authorization) == 1 && authorization[0] != "garbage"
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

// endpointReturning returns an endpoint that always returns err.
func endpointReturning(err error) func(context.Context, any) (any, error) {
	return func(context.Context, any) (any, error) { return nil, err }
}

func TestLimitCallers_BucketRefills(t *testing.T) {
	limiter, now := newTestLimiter(t, 60)
	limited := 0
	read := LimitCallers(limiter, fakeLookup{}, func(string) { limited++ })(Operation{"GetController", ScopeRead})(endpointReturning(nil))
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

func TestLimitAddresses_FailedAuthenticationsAreCharged(t *testing.T) {
	limiter, _ := newTestLimiter(t, 2)
	middleware := LimitAddresses(limiter, fakePrechecker{"good": true}, func(string) {})(Operation{"FastHeartbeat", ScopeMC})
	ctx := func(address string, authorization ...string) context.Context {
		return WithCall(t.Context(), &Call{Address: address, Authorization: authorization})
	}

	refused := fmt.Errorf("bad: %w", service.ErrUnauthenticated)
	for i, want := range []error{service.ErrUnauthenticated, service.ErrUnauthenticated, service.ErrRateLimited} {
		if _, err := middleware(endpointReturning(refused))(ctx("10.0.0.1"), nil); !errors.Is(err, want) {
			t.Errorf("bad call %d = %v, want %v", i, err, want)
		}
	}

	if _, err := middleware(endpointReturning(nil))(ctx("10.0.0.1", "good"), nil); err != nil {
		t.Errorf("a recognized token from that address = %v, want nil", err)
	}
	if _, err := middleware(endpointReturning(nil))(ctx("10.0.0.1", "renewed"), nil); err != nil {
		t.Errorf("a new token from that address = %v, want nil: it is verified", err)
	}
	if _, err := middleware(endpointReturning(refused))(ctx("10.0.0.1", "bad"), nil); !errors.Is(err, service.ErrRateLimited) {
		t.Errorf("a bad token from that address = %v, want ErrRateLimited", err)
	}
	if _, err := middleware(endpointReturning(refused))(ctx("10.0.0.2"), nil); !errors.Is(err, service.ErrUnauthenticated) {
		t.Errorf("another address = %v, want ErrUnauthenticated", err)
	}
}

// exhaust uses up the failed authentications of an address.
func exhaust(t *testing.T, limiter *Limiter, address string) {
	t.Helper()
	for limiter.allow(failedAuthentications, address) {
	}
}

func TestLimitAddresses_VerificationsPerAddress(t *testing.T) {
	limiter, now := newTestLimiter(t, 2)
	limited := 0
	middleware := LimitAddresses(limiter, fakePrechecker{}, func(string) { limited++ })
	verified := middleware(Operation{"FastHeartbeat", ScopeMC})(endpointReturning(nil))
	call := func(address string, authorization ...string) error {
		_, err := verified(WithCall(t.Context(), &Call{Address: address, Authorization: authorization}), nil)
		return err
	}

	addresses := make([]string, allVerifications/addressVerifications)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("10.0.0.%d", i)
		exhaust(t, limiter, addresses[i])
	}

	for range 2 * allVerifications {
		if err := call(addresses[0], "garbage"); !errors.Is(err, service.ErrRateLimited) {
			t.Fatalf("garbage from an exhausted address = %v, want ErrRateLimited", err)
		}
	}

	if err := call(addresses[0]); !errors.Is(err, service.ErrRateLimited) || limited != 2*allVerifications+1 {
		t.Errorf("no token from an exhausted address = %v, counted %d, want ErrRateLimited and each refusal", err, limited)
	}

	flood := func(address string) (passed int) {
		for range 2 * addressVerifications {
			err := call(address, "renewed")
			switch {
			case err == nil:
				passed++
			case !errors.Is(err, service.ErrUnavailable):
				t.Fatalf("a new token from an exhausted address = %v, want nil or ErrUnavailable", err)
			}
		}
		return passed
	}

	for _, address := range addresses {
		if got := flood(address); got != addressVerifications {
			t.Errorf("verifications for %s = %d, want %d: neither malformed tokens nor other addresses use any", address, got, addressVerifications)
		}
	}

	exhaust(t, limiter, "10.0.1.0")
	if err := call("10.0.1.0", "renewed"); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("beyond the verifications of all addresses = %v, want ErrUnavailable", err)
	}

	*now = now.Add(time.Second)
	exhaust(t, limiter, "10.0.1.0")
	if err := call("10.0.1.0", "renewed"); err != nil {
		t.Errorf("a second later = %v, want nil", err)
	}
}

func TestLimiter_LongSubjectsAllocateNothing(t *testing.T) {
	limiter, _ := newTestLimiter(t, 1_000_000)
	long := strings.Repeat("s", 6000)
	for _, subject := range []string{"client", long} {
		if got := testing.AllocsPerRun(100, func() { limiter.allow(otherCalls, subject) }); got != 0 {
			t.Errorf("a call of a subject of %d bytes allocates %.0f times, want 0", len(subject), got)
		}
	}

	if size := reflect.TypeFor[bucketKey]().Size(); size > 16 {
		t.Errorf("a bucket's key has %d bytes, want at most 16 however long a subject is", size)
	}

	limiter, _ = newTestLimiter(t, 1)
	for _, subject := range []string{long, long + "s", long[1:]} {
		if !limiter.allow(otherCalls, subject) {
			t.Errorf("a subject of %d bytes shares another's bucket", len(subject))
		}
	}
}

func TestAddressKey_IPv6Network(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "2001:db8::1": "2001:db8::/64", "2001:db8::2": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
		"::ffff:10.0.0.1": "::ffff:10.0.0.1", "@": "@",
	} {
		if got := addressKey(address); got != want {
			t.Errorf("addressKey(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestRequireReady_BeforeAndAfterStart(t *testing.T) {
	isReady := false
	guarded := RequireReady(func() bool { return isReady })(Operation{})(endpointReturning(nil))
	if _, err := guarded(t.Context(), nil); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("not ready = %v, want ErrUnavailable", err)
	}

	isReady = true
	if _, err := guarded(t.Context(), nil); err != nil {
		t.Errorf("ready = %v, want nil", err)
	}
}
