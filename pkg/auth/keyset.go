// Package auth verifies the tokens that the auth controller (AC) signs, against the keys that it publishes. No
// text of a token ever reaches an error, a log or a metric.
package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"golang.org/x/time/rate"

	"darktower.example/global-controller/service"
)

// The limits of fetching keys.
const (
	maxDocumentBytes = 1 << 20
	fetchTimeout     = 5 * time.Second
	refreshInterval  = time.Minute
	minRefetch       = time.Second
)

// KeySet holds the AC's published keys. A refresh that fails leaves the last good ones; one that succeeds replaces
// them all, so a key that is no longer published counts no longer.
type KeySet struct {
	url       string
	client    *http.Client
	logger    log.Logger
	onRefresh func(result string)
	keys      atomic.Pointer[map[string]ed25519.PublicKey]
	refetch   *rate.Limiter
	// isFailing is true when the last fetch failed.
	isFailing atomic.Bool
	dropped   droppedKeys
	unjudged  unjudgedTokens
	onDate    func(date time.Time, uncertainty time.Duration)
	mu        sync.Mutex
	current   *fetch // nil while none is under way
}

// fetch is one that is under way, or, once done is closed, over.
type fetch struct {
	done chan struct{}
	err  error
}

// NewKeySet returns an empty set that is filled from url. onRefresh, which may be nil, is told "ok" or "error".
func NewKeySet(url string, logger log.Logger, onRefresh func(result string)) *KeySet {
	if onRefresh == nil {
		onRefresh = func(string) {}
	}
	began := time.Now()
	k := &KeySet{
		url: url, logger: logger, onRefresh: onRefresh,
		client: &http.Client{
			Timeout: fetchTimeout,
			// Whoever can redirect us could choose who is let in.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		refetch:  rate.NewLimiter(rate.Every(minRefetch), 1),
		onDate:   func(time.Time, time.Duration) {},
		dropped:  droppedKeys{now: time.Now},
		unjudged: unjudgedTokens{now: func() time.Duration { return time.Since(began) }, memory: unjudgedMemory},
	}
	k.keys.Store(&map[string]ed25519.PublicKey{})
	return k
}

// FetchThrough has the keys fetched through transport; nil is net/http's own way. It is called before the first fetch.
func (k *KeySet) FetchThrough(transport http.RoundTripper) { k.client.Transport = transport }

// Ready tells whether a usable key is held.
func (k *KeySet) Ready() bool { return len(*k.keys.Load()) > 0 }

// Count is how many usable keys are held.
func (k *KeySet) Count() int { return len(*k.keys.Load()) }

// Run keeps the keys fresh until ctx ends: every minute, and sooner, with growing pauses, while fetching fails.
func (k *KeySet) Run(ctx context.Context) error {
	pause := time.Second
	for {
		next := refreshInterval
		if err := k.Refresh(ctx); err != nil && ctx.Err() == nil {
			_ = level.Warn(k.logger).Log("msg", "keys not refreshed", "err", err)
			next, pause = pause, min(2*pause, refreshInterval)
		} else {
			pause = time.Second
		}
		timer := time.NewTimer(next + rand.N(next/10+1)) //nolint:gosec // Spreads replicas; no secret.
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Refresh fetches the keys. Callers at the same time share one fetch, which outlives any of them.
func (k *KeySet) Refresh(ctx context.Context) error { return k.join(ctx, func() bool { return true }) }

// join waits for the fetch that is under way; when there is none and allowed says so, it begins one.
func (k *KeySet) join(ctx context.Context, allowed func() bool) error {
	f := k.begin(allowed)
	if f == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return f.err
	}
}

// begin returns the fetch that is under way, or begins one when allowed says so; nil when not.
func (k *KeySet) begin(allowed func() bool) *fetch {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == nil && allowed() {
		k.current = &fetch{done: make(chan struct{})}
		go k.carryOut(k.current)
	}
	return k.current
}

// carryOut fetches for everybody who waits, so it has a time limit of its own and nobody's context.
func (k *KeySet) carryOut(f *fetch) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	keys, err := k.fetch(ctx)
	if err == nil {
		k.dropped.replace(*k.keys.Load(), keys)
		k.keys.Store(&keys)
		k.isFailing.Store(false)
		k.unjudged.forget()
		k.onRefresh("ok")
	} else {
		k.isFailing.Store(true)
		k.onRefresh("error")
	}
	k.mu.Lock()
	k.current, f.err = nil, err
	k.mu.Unlock()
	close(f.done)
}

// Key returns the published key of that id. An unknown id is looked up at the AC once more, at most once a second,
// so that a rotation takes effect at once. Errors: [service.ErrUnauthenticated] for an unknown id,
// [service.ErrUnavailable] when no usable key is held or the last fetch failed, so that the id may be a new key's, the
// context's.
func (k *KeySet) Key(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	if key, ok := (*k.keys.Load())[kid]; ok {
		return key, nil
	}
	// A fetch that is under way may bring it. What goes wrong shows in what is held afterwards; Run reports it.
	if err := k.join(ctx, k.refetch.Allow); err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("fetch keys: %w", ctx.Err())
	}
	if key, ok := (*k.keys.Load())[kid]; ok {
		return key, nil
	}
	if !k.Ready() {
		return nil, fmt.Errorf("no usable key: %w", service.ErrUnavailable)
	}
	if k.isFailing.Load() {
		return nil, fmt.Errorf("unknown key id while the keys cannot be fetched: %w", service.ErrUnavailable)
	}
	return nil, fmt.Errorf("unknown key id: %w", service.ErrUnauthenticated)
}

// MayVerify tells, without waiting, whether a token with that key id could be verified. An unknown id has the keys fetched
// all the same, at most once a second, so that a rotation takes effect soon. Without any key, or when the last fetch
// failed, nothing can be said.
func (k *KeySet) MayVerify(kid string) bool {
	keys := *k.keys.Load()
	if _, ok := keys[kid]; ok || len(keys) == 0 {
		return true
	}
	k.begin(k.refetch.Allow)
	return k.isFailing.Load()
}

func (k *KeySet) fetch(ctx context.Context) (map[string]ed25519.PublicKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, errors.New("the address of the keys is not a URL")
	}
	began := time.Now()
	response, err := k.client.Do(request)
	took := time.Since(began)
	if err != nil {
		return nil, fmt.Errorf("fetch keys: %w", errors.Unwrap(err)) // Without the address, which may hold a password.
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch keys: status %d", response.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxDocumentBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	if len(document) > maxDocumentBytes {
		return nil, fmt.Errorf("read keys: more than %d bytes", maxDocumentBytes)
	}
	k.readDate(response.Header, took)
	return parseKeys(document)
}

// parseKeys reads a JWKS document, of which at least one key has to be usable. A key that is not an Ed25519 signing key is
// passed over; of two keys with one id
// that differ neither counts, for nobody can say which is meant.
func parseKeys(document []byte) (map[string]ed25519.PublicKey, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil || set.Keys == nil {
		return nil, errors.New("read keys: not a key set")
	}
	keys, clashing := make(map[string]ed25519.PublicKey), make(map[string]bool)
	for _, raw := range *set.Keys {
		var jwk struct{ Kid, Kty, Crv, X, Use, Alg string }
		if json.Unmarshal(raw, &jwk) != nil || jwk.Kid == "" || jwk.Kty != "OKP" || jwk.Crv != "Ed25519" || jwk.Use != "sig" || jwk.Alg != "EdDSA" {
			continue
		}
		x, err := base64.RawURLEncoding.Strict().DecodeString(jwk.X)
		// The decoder passes over line breaks, which the text's own length gives away.
		if err != nil || len(x) != ed25519.PublicKeySize || len(jwk.X) != base64.RawURLEncoding.EncodedLen(len(x)) {
			continue
		}
		if held, ok := keys[jwk.Kid]; ok && !held.Equal(ed25519.PublicKey(x)) {
			clashing[jwk.Kid] = true
		}
		keys[jwk.Kid] = x
	}
	for kid := range clashing {
		delete(keys, kid)
	}
	if len(keys) == 0 {
		return nil, errors.New("read keys: no usable key in the key set")
	}
	return keys, nil
}
