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
		strings.Replace(jwk("bad", 'b'), `"x":"`, `"x":"\n`, 1),
	} {
		keys, err := parseKeys([]byte(document(bad, good)))
		if err != nil || len(keys) != 1 || keys["good"] == nil {
			t.Errorf("parseKeys(%s and a good one) = %v, %v, want the good one alone", bad, keys, err)
		}
	}
	if keys, err := parseKeys([]byte(document(jwk("k", 'a'), jwk("k", 'b'), good))); err != nil || len(keys) != 1 {
		t.Errorf("parseKeys(clashing ids) = %v, %v, want neither of them", keys, err)
	}
	for _, bad := range []string{"", "x", "[]", "{}", `{"keys":null}`, `{"keys":{}}`, document(), document(`{"kid":"bad","kty":"RSA"}`)} {
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
	}{
		{500, ""},
		{200, "garbage"},
		{200, strings.Repeat(" ", maxDocumentBytes+1)},
		{302, ""},
		{200, document()},
		{200, document(strings.Replace(jwk("k1", 'a'), "EdDSA", "ES256", 1))},
	} {
		ac.answer(trouble.status, trouble.body)
		if err := keys.Refresh(t.Context()); err == nil {
			t.Errorf("Refresh() with status %d and %d bytes = nil, want an error", trouble.status, len(trouble.body))
		}
		if _, err := keys.Key(t.Context(), "k1"); err != nil {
			t.Errorf("Key(k1) in trouble = %v, want the last good one", err)
		}
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

// slowController answers when it is told to, and says when it was asked.
func slowController(t *testing.T, body string) (url string, asked, release chan struct{}) {
	t.Helper()
	asked, release = make(chan struct{}, 100), make(chan struct{}, 100)
	ac := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-release:
			_, _ = w.Write([]byte(body))
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(ac.Close)
	return ac.URL, asked, release
}

func TestCallersShareOneFetch(t *testing.T) {
	url, asked, release := slowController(t, document(jwk("k", 'a')))
	keys := NewKeySet(url, log.NewNopLogger(), nil)
	var callers sync.WaitGroup
	callers.Go(func() { _ = keys.Refresh(t.Context()) })
	<-asked // The fetch is under way, so all that come now have to wait for it.
	for range 50 {
		callers.Go(func() {
			if _, err := keys.Key(t.Context(), "k"); err != nil {
				t.Errorf("Key(k) = %v, want the key that the fetch under way brings", err)
			}
		})
	}
	release <- struct{}{}
	callers.Wait()
	if more := len(asked); more != 0 {
		t.Errorf("fetches = %d, want one for all", 1+more)
	}
}

func TestAControllerThatHangsHoldsUpNobodyWhoseKeyIsKnown(t *testing.T) {
	url, asked, release := slowController(t, document(jwk("k", 'a')))
	keys := NewKeySet(url, log.NewNopLogger(), nil)
	release <- struct{}{}
	if err := keys.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh() = %v", err)
	}
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	stranger := make(chan error, 1)
	go func() {
		_, err := keys.Key(ctx, "unknown")
		stranger <- err
	}()
	<-asked
	if _, err := keys.Key(t.Context(), "k"); err != nil {
		t.Errorf("Key(k) while a fetch hangs = %v, want nil", err)
	}
	cancel()
	if err := <-stranger; !errors.Is(err, context.Canceled) {
		t.Errorf("Key(unknown) after its caller left = %v, want context.Canceled", err)
	}
	release <- struct{}{} // Lets the fetch that nobody waits for end.
	if err := keys.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh() = %v, want nil", err)
	}
}

func TestAHugeDocumentIsReadNoFurtherThanItMay(t *testing.T) {
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
	keys := NewKeySet(ac.URL, log.NewNopLogger(), nil)
	if err := keys.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("Refresh() = %v, want a refusal of the size", err)
	}
	<-ended
	// What the sockets' buffers hold was written and never read.
	if got := written.Load(); got > huge/2 {
		t.Errorf("the server could write %d bytes, want the connection cut long before %d", got, huge)
	}
}

func TestKeysComeOnceTheControllerIsBack(t *testing.T) {
	ac := newController(t, "")
	ac.answer(http.StatusBadGateway, "")
	keys := NewKeySet(ac.URL, log.NewNopLogger(), nil)
	if _, err := keys.Key(t.Context(), "k"); !errors.Is(err, service.ErrUnavailable) {
		t.Fatalf("Key() = %v, want ErrUnavailable", err)
	}
	ac.answer(http.StatusOK, document(jwk("k", 'a')))
	back := time.Now()
	for {
		_, err := keys.Key(t.Context(), "k")
		if err == nil {
			return
		}
		if !errors.Is(err, service.ErrUnavailable) || time.Since(back) > 5*time.Second {
			t.Fatalf("Key() %v after the controller is back = %v", time.Since(back), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestKeysRotateWhileTheyAreUsed(t *testing.T) {
	ac := newController(t, document(jwk("k0", 'a')))
	keys := NewKeySet(ac.URL, log.NewNopLogger(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for ctx.Err() == nil {
				_, _ = keys.Key(ctx, "k0")
				keys.Ready()
			}
		})
	}
	for i := range 20 {
		ac.answer(http.StatusOK, document(jwk(fmt.Sprintf("k%d", i), byte('a'+i))))
		if err := keys.Refresh(t.Context()); err != nil {
			t.Errorf("Refresh() = %v", err)
		}
	}
	cancel()
	users.Wait()
}
