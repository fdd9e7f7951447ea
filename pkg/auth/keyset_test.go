package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"
	"go.uber.org/goleak"

	"darktower.example/global-controller/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func jwkFromSeed(kid string, seed byte) string {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32))).Public().(ed25519.PublicKey)
	x := base64.RawURLEncoding.EncodeToString(key)
	return fmt.Sprintf(`{"kid":%q,"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","x":%q}`, kid, x)
}

func keyDocument(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// fakeController is an AC with settable responses.
type fakeController struct {
	*httptest.Server
	fetches atomic.Int32
	mu      sync.Mutex
	status  int
	body    string
}

func startController(t testing.TB, body string) *fakeController {
	t.Helper()
	c := &fakeController{body: body, status: http.StatusOK}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c.fetches.Add(1)
		c.mu.Lock()
		defer c.mu.Unlock()
		w.WriteHeader(c.status)
		_, _ = w.Write([]byte(c.body))
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *fakeController) setResponse(status int, body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status, c.body = status, body
}

func newTestKeySet(url string) *KeySet {
	return NewKeySet(KeySetConfig{URL: url, Logger: log.NewNopLogger()})
}

func TestParseKeys_SkipsUnusableKeys(t *testing.T) {
	good := jwkFromSeed("good", 'a')
	replaced := func(old, by string) string { return strings.Replace(jwkFromSeed("bad", 'b'), old, by, 1) }
	for _, bad := range []string{
		`7`,
		`null`,
		`{"kid":7}`,
		`{"kid":"bad","kty":"RSA"}`,
		jwkFromSeed("", 'b'),
		replaced(`"sig"`, `"enc"`),
		replaced("EdDSA", "ES256"),
		replaced("Ed25519", "X25519"),
		replaced(`"x":"`, `"x":"A`),
		replaced(`"x":"`, `"x":"\n`),
	} {
		keys, err := parseKeys([]byte(keyDocument(bad, good)))
		if err != nil || len(keys) != 1 || keys["good"] == nil {
			t.Errorf("parseKeys(%s and a good one) = %v, %v, want only the good one", bad, keys, err)
		}
	}

	if keys, err := parseKeys([]byte(keyDocument(jwkFromSeed("k", 'a'), jwkFromSeed("k", 'b'), good))); err != nil || len(keys) != 1 {
		t.Errorf("parseKeys(two keys with one id) = %v, %v, want neither of them", keys, err)
	}
	for _, bad := range []string{
		"", "x", "[]", "{}", `{"keys":null}`, `{"keys":{}}`, keyDocument(), keyDocument(`{"kid":"bad","kty":"RSA"}`),
	} {
		if _, err := parseKeys([]byte(bad)); err == nil {
			t.Errorf("parseKeys(%q) = nil, want an error", bad)
		}
	}
}

func TestKeySet_KeepsTheLastKeysAfterAFailure(t *testing.T) {
	ac := startController(t, keyDocument(jwkFromSeed("k1", 'a')))
	keys := newTestKeySet(ac.URL)
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v, want nil", err)
	}

	for _, response := range []struct {
		status int
		body   string
	}{
		{500, ""},
		{200, "garbage"},
		{200, strings.Repeat(" ", maxDocumentBytes+1)},
		{302, ""},
		{200, keyDocument()},
		{200, keyDocument(strings.Replace(jwkFromSeed("k1", 'a'), "EdDSA", "ES256", 1))},
	} {
		ac.setResponse(response.status, response.body)
		if err := keys.Refresh(t.Context()); err == nil {
			t.Errorf("Refresh() with status %d and %d bytes = nil, want an error", response.status, len(response.body))
		}

		if _, err := keys.Key(t.Context(), "k1"); err != nil {
			t.Errorf("Key(k1) after a failed refresh = %v, want the last good key", err)
		}
	}
}

func TestKeySet_Rotation(t *testing.T) {
	ac := startController(t, keyDocument(jwkFromSeed("k1", 'a')))
	keys := newTestKeySet(ac.URL)
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v, want nil", err)
	}
	ac.setResponse(http.StatusOK, keyDocument(jwkFromSeed("k2", 'b')))
	if _, err := keys.Key(t.Context(), "k2"); err != nil {
		t.Errorf("Key(k2) after the rotation = %v, want nil", err)
	}

	before := ac.fetches.Load()
	for i := range 100 {
		if _, err := keys.Key(t.Context(), fmt.Sprintf("../%d' OR 1=1", i)); !errors.Is(err, service.ErrUnauthenticated) {
			t.Fatalf("Key(unknown) = %v, want ErrUnauthenticated", err)
		}
	}

	if got := ac.fetches.Load() - before; got > 2 {
		t.Errorf("fetches for 100 unknown ids = %d, want at most 2", got)
	}
}

func TestKeySet_Empty(t *testing.T) {
	ac := startController(t, "")
	ac.Close()
	keys := newTestKeySet(ac.URL)
	if _, err := keys.Key(t.Context(), "k"); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Key() = %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := keys.Run(ctx); err != nil {
		t.Errorf("Run(ended) = %v, want nil", err)
	}
}

// startSlowController starts an AC that sends on requests for each request, and responds after a value on release.
func startSlowController(t *testing.T, body string) (url string, requests, release chan struct{}) {
	t.Helper()
	requests, release = make(chan struct{}, 100), make(chan struct{}, 100)
	ac := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- struct{}{}
		select {
		case <-release:
			_, _ = w.Write([]byte(body))
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(ac.Close)
	return ac.URL, requests, release
}

func TestKeySet_CallersShareAFetch(t *testing.T) {
	url, requests, release := startSlowController(t, keyDocument(jwkFromSeed("k", 'a')))
	keys := newTestKeySet(url)
	var callers sync.WaitGroup
	callers.Go(func() { _ = keys.Refresh(t.Context()) })
	<-requests // The fetch is under way, so all later callers have to wait for it.

	for range 50 {
		callers.Go(func() {
			if _, err := keys.Key(t.Context(), "k"); err != nil {
				t.Errorf("Key(k) = %v, want the key of the fetch that is under way", err)
			}
		})
	}

	release <- struct{}{}
	callers.Wait()
	if more := len(requests); more != 0 {
		t.Errorf("fetches = %d, want one for all", 1+more)
	}
}

func TestKeySet_SlowFetchBlocksNoKnownKey(t *testing.T) {
	url, requests, release := startSlowController(t, keyDocument(jwkFromSeed("k", 'a')))
	keys := newTestKeySet(url)
	release <- struct{}{}
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v", err)
	}
	<-requests

	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := keys.Key(ctx, "unknown")
		result <- err
	}()

	<-requests
	if _, err := keys.Key(t.Context(), "k"); err != nil {
		t.Errorf("Key(k) while a fetch hangs = %v, want nil", err)
	}

	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Key(unknown) after its caller cancelled = %v, want context.Canceled", err)
	}

	release <- struct{}{} // Ends the fetch, which has no waiting caller.
	if err := keys.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh() = %v, want nil", err)
	}
}

func TestKeySet_HugeDocument(t *testing.T) {
	const huge = 100 << 20
	var written atomic.Int64
	ended := make(chan struct{})
	ac := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		chunk := []byte(strings.Repeat(" ", 1<<16))

		for written.Load() < huge {
			n, err := w.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(ac.Close)

	keys := newTestKeySet(ac.URL)
	if err := keys.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("Refresh() = %v, want an error about the size", err)
	}

	<-ended
	// The buffers of the sockets hold data that was written and never read.
	if got := written.Load(); got > huge/2 {
		t.Errorf("the server wrote %d bytes, want the connection closed long before %d", got, huge)
	}
}

func TestKeySet_RecoversAfterAnOutage(t *testing.T) {
	ac := startController(t, "")
	ac.setResponse(http.StatusBadGateway, "")
	keys := newTestKeySet(ac.URL)
	if _, err := keys.Key(t.Context(), "k"); !errors.Is(err, service.ErrUnavailable) {
		t.Fatalf("Key() = %v, want ErrUnavailable", err)
	}
	ac.setResponse(http.StatusOK, keyDocument(jwkFromSeed("k", 'a')))

	outageEnd := time.Now()
	for {
		_, err := keys.Key(t.Context(), "k")
		if err == nil {
			return
		}
		if !errors.Is(err, service.ErrUnavailable) || time.Since(outageEnd) > 5*time.Second {
			t.Fatalf("Key() %v after the end of the outage = %v", time.Since(outageEnd), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestKeySet_RotationDuringUse(t *testing.T) {
	ac := startController(t, keyDocument(jwkFromSeed("k0", 'a')))
	keys := newTestKeySet(ac.URL)
	ctx, cancel := context.WithCancel(t.Context())
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for ctx.Err() == nil {
				_, _ = keys.Key(ctx, "k0")
				keys.HasKeys()
			}
		})
	}

	for i := range 20 {
		ac.setResponse(http.StatusOK, keyDocument(jwkFromSeed(fmt.Sprintf("k%d", i), byte('a'+i))))
		if err := keys.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh() = %v", err)
		}
	}

	cancel()
	users.Wait()
}
