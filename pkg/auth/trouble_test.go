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
	v.keys.refetch.SetLimit(rate.Inf)
	known := []string{"Bearer " + sign(seeded('a'), goodHeader, goodPayload)}
	unknown := []string{"Bearer " + sign(seeded('b'), otherHeader, goodPayload)}

	if _, err := v.Authenticate(t.Context(), unknown); !errors.Is(err, service.ErrUnauthenticated) || !v.keys.CanJudge() {
		t.Errorf("Authenticate(unknown key) while the keys can be fetched = %v, want ErrUnauthenticated", err)
	}
	ac.answer(http.StatusInternalServerError, "")
	for name, unfit := range map[string]string{
		"no form":     "x",
		"bad claims":  sign(seeded('b'), otherHeader, claimsWith(`"sub"`, `"x"`)),
		"expired":     sign(seeded('b'), otherHeader, claimsWith("1800003600", "1799990000")),
		"no JSON":     sign(seeded('b'), otherHeader, "{"),
		"another alg": sign(seeded('b'), `{"alg":"none","kid":"k2"}`, goodPayload),
	} {
		if _, err := v.Authenticate(t.Context(), []string{"Bearer " + unfit}); !errors.Is(err, service.ErrUnauthenticated) || !v.keys.CanJudge() {
			t.Errorf("Authenticate(%s) = %v, want ErrUnauthenticated without a trace", name, err)
		}
	}

	if _, err := v.Authenticate(t.Context(), unknown); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Authenticate(unknown key) while the keys cannot be fetched = %v, want ErrUnavailable", err)
	}
	if v.keys.CanJudge() || !v.IsWellFormed(unknown) {
		t.Errorf("Judging() = %v, Plausible() = %v, want a token that nobody can judge, and worth a try", v.keys.CanJudge(), v.IsWellFormed(unknown))
	}
	if _, err := v.Authenticate(t.Context(), known); err != nil {
		t.Errorf("Authenticate(known key) = %v, want the key that is held to serve on", err)
	}

	ac.answer(http.StatusOK, document(jwk("k1", 'a'), jwk("k2", 'b')))
	if _, err := v.Authenticate(t.Context(), unknown); err != nil || !v.keys.CanJudge() {
		t.Errorf("Authenticate(unknown key) after the next fetch = %v, Judging() = %v, want it let in", err, v.keys.CanJudge())
	}
}

func TestKeySet_UnjudgedTokensAreForgotten(t *testing.T) {
	var now time.Duration
	u := unjudgedTokens{now: func() time.Duration { return now }, memory: 15 * time.Second}
	if u.hasRecent() {
		t.Error("areThere() = true before the first")
	}
	u.note()
	now = 15 * time.Second
	if !u.hasRecent() {
		t.Error("areThere() = false before the next call of the same caller is due")
	}
	now += time.Second
	if u.hasRecent() {
		t.Error("areThere() = true long after the last")
	}
}

func TestVerifier_DroppedKey(t *testing.T) {
	now := testNow
	v, ac := newTestVerifier(t, "", &now)
	old := []string{"Bearer " + sign(seeded('a'), goodHeader, goodPayload)}
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

	for _, published := range []string{document(jwk("k1", 'c')), document(jwk("k1", 'd')), document(jwk("k2", 'b'))} {
		ac.answer(http.StatusOK, published)
		if err := v.keys.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh() = %v", err)
		}
		if got := refusal(old); got != service.RefusedKeyDropped {
			t.Errorf("refusal by a dropped key while %s is published = %q, want %q", published, got, service.RefusedKeyDropped)
		}
	}
	part := strings.Split(strings.TrimPrefix(old[0], "Bearer "), ".")
	for name, forged := range map[string]string{
		"a bad signature":             part[0] + "." + part[1] + "." + strings.Repeat("A", 86),
		"another key":                 sign(seeded('x'), goodHeader, goodPayload),
		"an expired one of the key":   sign(seeded('a'), goodHeader, claimsWith("1800003600", "1799990000")),
		"a key that was never there":  sign(seeded('x'), `{"alg":"EdDSA","kid":"k9"}`, goodPayload),
		"the key under another's id ": sign(seeded('a'), otherHeader, goodPayload),
	} {
		if got := refusal([]string{"Bearer " + forged}); got == service.RefusedKeyDropped {
			t.Errorf("refusal of %s = %q, want nothing that speaks for its owner", name, got)
		}
	}

	v.keys.dropped.now = func() time.Time { return time.Now().Add(droppedFor + time.Second) }
	if got := refusal(old); got != "" {
		t.Errorf("refusal an hour later = %q, want the key forgotten", got)
	}
	ac.answer(http.StatusOK, document(jwk("k1", 'a')))
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
	v.SuspectClock(guard.Suspect)
	guard.Read(clock.AuthController, testNow, time.Second)
	long, short := []string{"Bearer " + sign(seeded('a'), goodHeader, goodPayload)}, []string{"Bearer " + sign(seeded('a'), goodHeader, claimsWith("1800003600", "1800000010"))}
	expired := []string{"Bearer " + sign(seeded('a'), goodHeader, claimsWith("1800003600", "1799999000"))}
	for _, token := range [][]string{long, short} {
		if _, err := v.Authenticate(t.Context(), token); err != nil {
			t.Fatalf("Authenticate() = %v", err)
		}
	}
	if _, err := v.Authenticate(t.Context(), expired); !errors.Is(err, service.ErrUnauthenticated) {
		t.Errorf("Authenticate(expired) by a right clock = %v, want ErrUnauthenticated", err)
	}

	step = 2 * time.Hour
	for name, token := range map[string][]string{"remembered": long, "fresh": {"Bearer " + sign(seeded('a'), goodHeader, claimsWith("client", "other"))}, "expired": expired} {
		if _, err := v.Authenticate(t.Context(), token); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Authenticate(%s) by a clock 2 h ahead = %v, want ErrUnavailable", name, err)
		}
	}
	if _, err := v.Authenticate(t.Context(), []string{"Bearer " + sign(seeded('x'), goodHeader, goodPayload)}); !errors.Is(err, service.ErrUnauthenticated) {
		t.Errorf("Authenticate(forged) = %v, want ErrUnauthenticated: no clock makes it right", err)
	}

	step = -10 * time.Minute
	if _, err := v.Authenticate(t.Context(), []string{"Bearer " + sign(seeded('a'), goodHeader, claimsWith("client", "third"))}); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Authenticate(issued in the future) by a clock 10 min behind = %v, want ErrUnavailable", err)
	}
	// By this clock it is valid, by the auth controller's it has expired.
	gone := []string{"Bearer " + sign(seeded('a'), goodHeader, `{"sub":"client","iat":1799999000,"exp":1799999900}`)}
	if _, err := v.Authenticate(t.Context(), gone); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Authenticate(expired by the reference only) = %v, want ErrUnavailable", err)
	}
	// What is remembered ends when it would have ended: here after 70 s.
	if _, err := v.Authenticate(t.Context(), short); err != nil {
		t.Errorf("Authenticate(remembered) = %v, want nil", err)
	}
	began := v.monotonic
	v.monotonic = func() time.Duration { return began() + 71*time.Second }
	if v.IsCached(short) {
		t.Error("a remembered token outlives its expiry because the clock was set back")
	}

	step = 0
	if _, err := v.Authenticate(t.Context(), long); err != nil || guard.Judge().Wrong {
		t.Errorf("Authenticate() after the clock was set right = %v, want nil", err)
	}
}

func TestKeySet_Date(t *testing.T) {
	at := time.Now().Add(-2 * time.Hour).Truncate(time.Second)
	header := http.Header{"Date": {at.UTC().Format(http.TimeFormat)}}
	ac := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write([]byte(document(jwk("k1", 'a'))))
	}))
	defer ac.Close()
	keys := NewKeySet(ac.URL, log.NewNopLogger(), nil)
	var read []time.Time
	keys.OnDate(func(date time.Time, uncertainty time.Duration) {
		if uncertainty < time.Second/2 || uncertainty > fetchTimeout {
			t.Errorf("uncertainty = %v", uncertainty)
		}
		read = append(read, date)
	})
	fetch := func() {
		t.Helper()
		if err := keys.Refresh(t.Context()); err != nil {
			t.Fatalf("Refresh() = %v", err)
		}
	}
	fetch()
	header.Set("Age", "600") // A cache on the way answered.
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
