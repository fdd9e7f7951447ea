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

type fakeDirectory struct {
	known map[string]bool
	owned int
	err   error
	// asked are the ids that were looked up, when it is not nil.
	asked *[]string
}

func (f fakeDirectory) IsRegistered(_ context.Context, id string) (bool, error) {
	if f.asked != nil {
		*f.asked = append(*f.asked, id)
	}
	return f.known[id], f.err
}

func (f fakeDirectory) CountOwned(context.Context, string) (int, error) { return f.owned, f.err }

// fakeRecognizer recognizes its tokens; only "garbage" is not worth a signature.
type fakeRecognizer map[string]bool

func (f fakeRecognizer) IsCached(authorization []string) bool {
	return len(authorization) == 1 && f[authorization[0]]
}

func (f fakeRecognizer) IsWellFormed(authorization []string) bool {
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

// answer is an endpoint that always ends with err.
func answer(err error) func(context.Context, any) (any, error) {
	return func(context.Context, any) (any, error) { return nil, err }
}

func TestLimitCallers_BucketRefills(t *testing.T) {
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

func TestLimitAddresses_FailedAuthenticationsAreCharged(t *testing.T) {
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
}

// exhaust uses up what an address may do wrong.
func exhaust(t *testing.T, limiter *Limiter, address string) {
	t.Helper()
	for limiter.allow(failedAuthentications, address) {
	}
}

func TestLimitAddresses_VerificationsPerAddress(t *testing.T) {
	limiter, now := newTestLimiter(t, 2)
	limited := 0
	verified := LimitAddresses(limiter, fakeRecognizer{}, func(string) { limited++ })(Operation{"FastHeartbeat", ScopeMC})(answer(nil))
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
			t.Errorf("verifications for %s = %d, want %d: neither garbage nor another address costs any", address, got, addressVerifications)
		}
	}

	exhaust(t, limiter, "10.0.1.0")
	if err := call("10.0.1.0", "renewed"); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("beyond what is verified for all addresses = %v, want ErrUnavailable", err)
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
		t.Errorf("an allowance is named by %d bytes, want at most 16 however long a subject is", size)
	}

	limiter, _ = newTestLimiter(t, 1)
	for _, subject := range []string{long, long + "s", long[1:]} {
		if !limiter.allow(otherCalls, subject) {
			t.Errorf("a subject of %d bytes shares another's allowance", len(subject))
		}
	}
}

func TestAddressKey(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "2001:db8::1": "2001:db8::/64", "2001:db8::2": "2001:db8::/64", "fe80::1%eth0": "fe80::/64", "::ffff:10.0.0.1": "::ffff:10.0.0.1", "@": "@",
	} {
		if got := addressKey(address); got != want {
			t.Errorf("addressKey(%q) = %q, want %q", address, got, want)
		}
	}
}

func TestRequireReady(t *testing.T) {
	open := false
	gated := RequireReady(func() bool { return open })(Operation{})(answer(nil))
	if _, err := gated(t.Context(), nil); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("closed = %v, want ErrUnavailable", err)
	}
	open = true
	if _, err := gated(t.Context(), nil); err != nil {
		t.Errorf("open = %v, want nil", err)
	}
}
