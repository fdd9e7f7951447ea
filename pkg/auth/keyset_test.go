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

	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

func jwk(kid string, seed byte) string {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32))).Public().(ed25519.PublicKey)
	return fmt.Sprintf(`{"kid":%q,"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","x":%q}`, kid, base64.RawURLEncoding.EncodeToString(key))
}

func document(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// controller is an AC whose answer can be changed.
type controller struct {
	*httptest.Server
	fetches atomic.Int32
	mu      sync.Mutex
	status  int
	body    string
}

func newController(t testing.TB, body string) *controller {
	t.Helper()
	c := &controller{body: body, status: http.StatusOK}
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

func (c *controller) answer(status int, body string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status, c.body = status, body
}

func TestOneBadKeyDoesNotSpoilTheOthers(t *testing.T) {
	good := jwk("good", 'a')
	for _, bad := range []string{
		`7`, `null`, `{"kid":7}`, jwk("", 'b'), strings.Replace(jwk("bad", 'b'), `"sig"`, `"enc"`, 1), strings.Replace(jwk("bad", 'b'), "EdDSA", "ES256", 1),
		strings.Replace(jwk("bad", 'b'), `"x":"`, `"x":"A`, 1), strings.Replace(jwk("bad", 'b'), "Ed25519", "X25519", 1), `{"kid":"bad","kty":"RSA"}`,
	} {
		keys, err := parseKeys([]byte(document(bad, good)))
		if err != nil || len(keys) != 1 || keys["good"] == nil {
			t.Errorf("parseKeys(%s and a good one) = %v, %v, want the good one alone", bad, keys, err)
		}
	}
	if keys, err := parseKeys([]byte(document(jwk("k", 'a'), jwk("k", 'b'), good))); err != nil || len(keys) != 1 {
		t.Errorf("parseKeys(clashing ids) = %v, %v, want neither of them", keys, err)
	}
	for _, bad := range []string{"", "x", "[]", "{}", `{"keys":null}`, `{"keys":{}}`} {
		if _, err := parseKeys([]byte(bad)); err == nil {
			t.Errorf("parseKeys(%q) = nil, want an error", bad)
		}
	}
}

func TestLastGoodKeysStayWhileTheControllerIsInTrouble(t *testing.T) {
	ac := newController(t, document(jwk("k1", 'a')))
	keys := NewKeySet(ac.URL, log.NewNopLogger(), nil)
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v, want nil", err)
	}
	for _, trouble := range []struct {
		status int
		body   string
	}{{500, ""}, {200, "garbage"}, {200, strings.Repeat(" ", maxDocumentBytes+1)}, {302, ""}} {
		ac.answer(trouble.status, trouble.body)
		if err := keys.Refresh(t.Context()); err == nil {
			t.Errorf("Refresh() with status %d and %d bytes = nil, want an error", trouble.status, len(trouble.body))
		}
		if _, err := keys.Key(t.Context(), "k1"); err != nil {
			t.Errorf("Key(k1) in trouble = %v, want the last good one", err)
		}
	}
	ac.answer(http.StatusOK, document())
	if err := keys.Refresh(t.Context()); err != nil || keys.Ready() {
		t.Errorf("after an empty set: Refresh() = %v, Ready() = %v, want nil and false: nothing is published", err, keys.Ready())
	}
}

func TestRotationTakesEffectAtOnceAndRefetchesAreLimited(t *testing.T) {
	ac := newController(t, document(jwk("k1", 'a')))
	keys := NewKeySet(ac.URL, log.NewNopLogger(), nil)
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v, want nil", err)
	}
	ac.answer(http.StatusOK, document(jwk("k2", 'b')))
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

func TestNoKeyAtAllIsUnavailable(t *testing.T) {
	ac := newController(t, "")
	ac.Close()
	keys := NewKeySet(ac.URL, log.NewNopLogger(), nil)
	if _, err := keys.Key(t.Context(), "k"); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Key() = %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := keys.Run(ctx); err != nil {
		t.Errorf("Run(ended) = %v, want nil", err)
	}
}

func TestCallersShareOneFetch(t *testing.T) {
	release := make(chan struct{})
	var fetches atomic.Int32
	ac := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		<-release
		_, _ = w.Write([]byte(document(jwk("k", 'a'))))
	}))
	t.Cleanup(ac.Close)
	keys := NewKeySet(ac.URL, log.NewNopLogger(), nil)
	var started, done sync.WaitGroup
	for range 50 {
		started.Add(1)
		done.Go(func() {
			started.Done()
			if err := keys.Refresh(t.Context()); err != nil {
				t.Errorf("Refresh() = %v, want nil", err)
			}
		})
	}
	started.Wait()
	close(release)
	done.Wait()
	if got := fetches.Load(); got > 50/2 || !keys.Ready() {
		t.Errorf("fetches by 50 callers = %d, want far fewer", got)
	}
}
