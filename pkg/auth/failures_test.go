package auth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"golang.org/x/time/rate"

	"darktower.example/global-controller/pkg/clock"
	"darktower.example/global-controller/service"
)

// otherHeader names a key that is published later, or not at all.
const otherHeader = `{"alg":"EdDSA","kid":"k2"}`

func TestVerifier_UnknownKeyWhileKeysCannotBeFetched(t *testing.T) {
	now := testNow
	v, ac := newTestVerifier(t, "", &now)
	v.keys.refetchLimit.SetLimit(rate.Inf)
	known := bearerHeader('a', goodHeader, goodPayload)
	unknown := bearerHeader('b', otherHeader, goodPayload)

	if _, err := v.Authenticate(t.Context(), unknown); !errors.Is(err, service.ErrUnauthenticated) || !v.keys.CanVerify() {
		t.Errorf("Authenticate(unknown key) while the keys can be fetched = %v, want ErrUnauthenticated", err)
	}

	ac.setResponse(http.StatusInternalServerError, "")
	for name, invalid := range map[string]string{
		"no form":     "x",
		"bad claims":  signToken(privateKeyFromSeed('b'), otherHeader, payloadWith(`"sub"`, `"x"`)),
		"expired":     signToken(privateKeyFromSeed('b'), otherHeader, payloadWith("1800003600", "1799990000")),
		"no JSON":     signToken(privateKeyFromSeed('b'), otherHeader, "{"),
		"another alg": signToken(privateKeyFromSeed('b'), `{"alg":"none","kid":"k2"}`, goodPayload),
	} {
		_, err := v.Authenticate(t.Context(), []string{"Bearer " + invalid})
		if !errors.Is(err, service.ErrUnauthenticated) || !v.keys.CanVerify() {
			t.Errorf("Authenticate(%s) = %v, want ErrUnauthenticated, and CanVerify() = true", name, err)
		}
	}

	if _, err := v.Authenticate(t.Context(), unknown); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Authenticate(unknown key) while the keys cannot be fetched = %v, want ErrUnavailable", err)
	}
	if v.keys.CanVerify() || !v.IsWellFormed(unknown) {
		t.Errorf("CanVerify() = %v, IsWellFormed() = %v, want false and true", v.keys.CanVerify(), v.IsWellFormed(unknown))
	}
	if _, err := v.Authenticate(t.Context(), known); err != nil {
		t.Errorf("Authenticate(known key) = %v, want the token accepted with the last keys", err)
	}

	ac.setResponse(http.StatusOK, keyDocument(jwkFromSeed("k1", 'a'), jwkFromSeed("k2", 'b')))
	if _, err := v.Authenticate(t.Context(), unknown); err != nil || !v.keys.CanVerify() {
		t.Errorf("Authenticate(unknown key) after the next fetch = %v, CanVerify() = %v, want the token accepted", err, v.keys.CanVerify())
	}
}

func TestKeySet_UnverifiableTokens(t *testing.T) {
	var now time.Duration
	u := unverifiableTokens{now: func() time.Duration { return now }, recentFor: 15 * time.Second}
	if u.hasRecent() {
		t.Error("hasRecent() = true before the first")
	}
	u.record()
	now = 15 * time.Second
	if !u.hasRecent() {
		t.Error("hasRecent() = false within recentFor")
	}
	now += time.Second
	if u.hasRecent() {
		t.Error("hasRecent() = true after recentFor")
	}
}

func TestVerifier_DroppedKey(t *testing.T) {
	now := testNow
	v, ac := newTestVerifier(t, "", &now)
	old := bearerHeader('a', goodHeader, goodPayload)
	if _, err := v.Authenticate(t.Context(), old); err != nil {
		t.Fatalf("Authenticate() = %v", err)
	}
	refusal := func(authorization []string) string {
		t.Helper()
		_, err := v.Authenticate(t.Context(), authorization)
		if !errors.Is(err, service.ErrUnauthenticated) {
			t.Errorf("Authenticate() = %v, want ErrUnauthenticated", err)
		}

		var refused *service.RefusedError
		if errors.As(err, &refused) {
			return refused.Reason
		}
		return ""
	}

	for _, published := range []string{jwkFromSeed("k1", 'c'), jwkFromSeed("k1", 'd'), jwkFromSeed("k2", 'b')} {
		ac.setResponse(http.StatusOK, keyDocument(published))
		if err := v.keys.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh() = %v", err)
		}
		if got := refusal(old); got != service.RefusedKeyDropped {
			t.Errorf("refusal by a dropped key while %s is published = %q, want %q", published, got, service.RefusedKeyDropped)
		}
	}

	part := strings.Split(strings.TrimPrefix(old[0], "Bearer "), ".")
	for name, forged := range map[string]string{
		"a bad signature":          part[0] + "." + part[1] + "." + strings.Repeat("A", 86),
		"another key":              signToken(privateKeyFromSeed('x'), goodHeader, goodPayload),
		"an expired token":         signToken(privateKeyFromSeed('a'), goodHeader, payloadWith("1800003600", "1799990000")),
		"a key never published":    signToken(privateKeyFromSeed('x'), `{"alg":"EdDSA","kid":"k9"}`, goodPayload),
		"the key under another id": signToken(privateKeyFromSeed('a'), otherHeader, goodPayload),
	} {
		if got := refusal([]string{"Bearer " + forged}); got == service.RefusedKeyDropped {
			t.Errorf("refusal of %s = %q, want no reason that proves its subject", name, got)
		}
	}

	v.keys.droppedKeys.now = func() time.Time { return time.Now().Add(droppedKeyRetention + time.Second) }
	if got := refusal(old); got != "" {
		t.Errorf("refusal an hour later = %q, want the dropped key removed", got)
	}

	ac.setResponse(http.StatusOK, keyDocument(jwkFromSeed("k1", 'a')))
	if err := v.keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v", err)
	}
	if _, err := v.Authenticate(t.Context(), old); err != nil {
		t.Errorf("Authenticate() after the key is published again = %v, want nil", err)
	}
}

func TestVerifier_SteppedClock(t *testing.T) {
	var step time.Duration
	now := func() time.Time { return testNow.Add(step) }
	guard := clock.New(now, time.Minute, log.NewNopLogger())
	v, _ := newTestVerifier(t, "", new(testNow))
	v.now = guard.Now
	v.checkClock = guard.CheckToken
	guard.AddReading(clock.AuthController, testNow, time.Second)

	long := bearerHeader('a', goodHeader, goodPayload)
	short := bearerHeader('a', goodHeader, payloadWith("1800003600", "1800000010"))
	expired := bearerHeader('a', goodHeader, payloadWith("1800003600", "1799999000"))

	for _, token := range [][]string{long, short} {
		if _, err := v.Authenticate(t.Context(), token); err != nil {
			t.Fatalf("Authenticate() = %v", err)
		}
	}

	if _, err := v.Authenticate(t.Context(), expired); !errors.Is(err, service.ErrUnauthenticated) {
		t.Errorf("Authenticate(expired) by a correct clock = %v, want ErrUnauthenticated", err)
	}

	step = 2 * time.Hour
	for name, token := range map[string][]string{
		"cached":  long,
		"new":     bearerHeader('a', goodHeader, payloadWith("client", "other")),
		"expired": expired,
	} {
		if _, err := v.Authenticate(t.Context(), token); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Authenticate(%s) by a clock 2 h ahead = %v, want ErrUnavailable", name, err)
		}
	}

	forged := bearerHeader('x', goodHeader, goodPayload)
	if _, err := v.Authenticate(t.Context(), forged); !errors.Is(err, service.ErrUnauthenticated) {
		t.Errorf("Authenticate(forged) = %v, want ErrUnauthenticated at any time", err)
	}

	step = -10 * time.Minute
	another := bearerHeader('a', goodHeader, payloadWith("client", "third"))
	if _, err := v.Authenticate(t.Context(), another); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Authenticate(issued in the future) by a clock 10 min behind = %v, want ErrUnavailable", err)
	}

	// Valid by this clock, expired by the clock of the auth controller.
	gone := bearerHeader('a', goodHeader, `{"sub":"client","iat":1799999000,"exp":1799999900}`)
	if _, err := v.Authenticate(t.Context(), gone); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Authenticate(expired by the reference only) = %v, want ErrUnavailable", err)
	}

	// A cached token expires at its original time, here after 70 s.
	if _, err := v.Authenticate(t.Context(), short); err != nil {
		t.Errorf("Authenticate(cached) = %v, want nil", err)
	}

	began := v.monotonic
	v.monotonic = func() time.Duration { return began() + 71*time.Second }
	if v.IsCached(short) {
		t.Error("a cached token is valid after its expiry, because the clock was set back")
	}

	step = 0
	if _, err := v.Authenticate(t.Context(), long); err != nil || guard.Evaluate().IsWrong {
		t.Errorf("Authenticate() after the clock was corrected = %v, want nil", err)
	}
}

func TestKeySet_Date(t *testing.T) {
	at := time.Now().Add(-2 * time.Hour).Truncate(time.Second)
	header := http.Header{"Date": {at.UTC().Format(http.TimeFormat)}}
	ac := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write([]byte(keyDocument(jwkFromSeed("k1", 'a'))))
	}))
	defer ac.Close()

	var read []time.Time
	keys := NewKeySet(KeySetConfig{
		URL:    ac.URL,
		Logger: log.NewNopLogger(),
		OnDate: func(date time.Time, uncertainty time.Duration) {
			if uncertainty < time.Second/2 || uncertainty > fetchTimeout {
				t.Errorf("uncertainty = %v", uncertainty)
			}
			read = append(read, date)
		},
	})

	fetch := func() {
		t.Helper()
		if err := keys.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh() = %v", err)
		}
	}

	fetch()
	header.Set("Age", "600") // The response of a cache.
	fetch()
	header.Del("Age")
	header["Date"] = nil
	fetch()
	header.Set("Date", "yesterday")
	fetch()
	if len(read) != 2 || read[0].Sub(at).Abs() > time.Second || read[1].Sub(at.Add(10*time.Minute)).Abs() > time.Second {
		t.Errorf("read %v, want %v and 10 min later", read, at)
	}
}
