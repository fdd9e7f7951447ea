// Package auth verifies the tokens that the auth controller (AC) signs, with the keys that it publishes. No part of a
// token is ever written to an error, a log or a metric.
package auth

import (
	"context"
	"crypto/ed25519"
	"fmt"
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

const (
	// refreshInterval is how often the keys are fetched while fetches succeed.
	refreshInterval = time.Minute
	// minRefetchInterval is the shortest time between two fetches for unknown keys.
	minRefetchInterval = time.Second
	// defaultUnverifiableFor is longer than the usual time between two calls of a controller.
	defaultUnverifiableFor = 15 * time.Second
)

// KeySetConfig configures a set of keys.
type KeySetConfig struct {
	// URL is the address of the JWKS document.
	URL    string
	Logger log.Logger
	// Transport sends the requests. Nil: the default of net/http.
	Transport http.RoundTripper
	// OnRefresh is called after each fetch, with "ok" or "error". Nil: not called.
	OnRefresh func(result string)
	// OnDate is called with the auth controller's clock for each document. It must not block. Nil: not called.
	OnDate func(date time.Time, uncertainty time.Duration)
	// UnverifiableFor is how long CanVerify returns false after a token with an unknown key arrived while the keys could
	// not be fetched. It must be longer than the time between two calls of one caller. 0: 15 s.
	UnverifiableFor time.Duration
}

// KeySet has the published keys of the AC. If a refresh fails, it keeps the last keys. If one succeeds, it replaces all of
// them, so that a key that is no longer published is no longer valid.
type KeySet struct {
	url        string
	httpClient *http.Client
	logger     log.Logger
	onRefresh  func(result string)
	onDate     func(date time.Time, uncertainty time.Duration)

	keys          atomic.Pointer[map[string]ed25519.PublicKey]
	droppedKeys   droppedKeys
	unverifiable  unverifiableTokens
	refetchLimit  *rate.Limiter
	isFetchFailed atomic.Bool // Whether the last fetch failed.

	mu           sync.Mutex
	currentFetch *keyFetch // nil: none is under way.
}

// NewKeySet returns an empty set. [KeySet.Run] fetches the keys.
func NewKeySet(cfg KeySetConfig) *KeySet {
	if cfg.OnRefresh == nil {
		cfg.OnRefresh = func(string) {}
	}
	if cfg.OnDate == nil {
		cfg.OnDate = func(time.Time, time.Duration) {}
	}
	if cfg.UnverifiableFor == 0 {
		cfg.UnverifiableFor = defaultUnverifiableFor
	}

	began := time.Now()
	k := &KeySet{
		url:       cfg.URL,
		logger:    cfg.Logger,
		onRefresh: cfg.OnRefresh,
		onDate:    cfg.OnDate,
		httpClient: &http.Client{
			Timeout:   fetchTimeout,
			Transport: cfg.Transport,
			// A redirect could replace the keys, and with them decide which tokens are valid.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		refetchLimit: rate.NewLimiter(rate.Every(minRefetchInterval), 1),
		droppedKeys:  droppedKeys{now: time.Now},
		unverifiable: unverifiableTokens{
			now:       func() time.Duration { return time.Since(began) },
			recentFor: cfg.UnverifiableFor,
		},
	}

	k.keys.Store(&map[string]ed25519.PublicKey{})
	return k
}

// HasKeys reports whether the set has a usable key.
func (k *KeySet) HasKeys() bool { return len(*k.keys.Load()) > 0 }

// Count returns the number of usable keys.
func (k *KeySet) Count() int { return len(*k.keys.Load()) }

// CanVerify reports whether tokens can be verified. The set must have a usable key. Also, no recent token may have had an
// unknown key while the keys could not be fetched.
func (k *KeySet) CanVerify() bool { return k.HasKeys() && !k.unverifiable.hasRecent() }

// Run refreshes the keys until ctx ends: every minute, and sooner, with growing pauses, after a failure.
func (k *KeySet) Run(ctx context.Context) error {
	retryDelay := time.Second
	for {
		delay := refreshInterval
		if err := k.Refresh(ctx); err != nil && ctx.Err() == nil {
			_ = level.Warn(k.logger).Log("msg", "key refresh failed", "err", err)
			delay = retryDelay
			retryDelay = min(2*retryDelay, refreshInterval)
		} else {
			retryDelay = time.Second
		}

		timer := time.NewTimer(delay + rand.N(delay/10+1)) //nolint:gosec // Spreads replicas; no secret.
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Refresh fetches the keys. Concurrent callers share one fetch, which continues if the context of one of them ends.
func (k *KeySet) Refresh(ctx context.Context) error {
	return k.waitForFetch(ctx, func() bool { return true })
}

// StartFetch starts a fetch, except if one is under way or began within the last second. It does not wait.
func (k *KeySet) StartFetch() { k.joinFetch(k.refetchLimit.Allow) }

// Key returns the published key of that id. For an unknown id it fetches the keys again, at most once a second, so that a
// rotation takes effect at once.
//
// Errors: [service.ErrUnauthenticated] for an unknown id. [service.ErrUnavailable] if the set is empty or the last fetch
// failed, because the id may then be that of a new key. The error of ctx.
func (k *KeySet) Key(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	if key, ok := (*k.keys.Load())[kid]; ok {
		return key, nil
	}

	// A failed fetch shows in isFetchFailed below, and Run logs it.
	if err := k.waitForFetch(ctx, k.refetchLimit.Allow); err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("fetch keys: %w", ctx.Err())
	}

	if key, ok := (*k.keys.Load())[kid]; ok {
		return key, nil
	}
	if !k.HasKeys() {
		return nil, fmt.Errorf("no usable key: %w", service.ErrUnavailable)
	}
	if k.isFetchFailed.Load() {
		return nil, fmt.Errorf("unknown key id while the keys cannot be fetched: %w", service.ErrUnavailable)
	}
	return nil, fmt.Errorf("unknown key id: %w", service.ErrUnauthenticated)
}

// MayVerify reports, without waiting, whether a token with that key id may be valid. It is false only if the id is unknown and
// the last fetch succeeded. An unknown id starts a fetch, at most once a second, so that a rotation takes effect soon.
func (k *KeySet) MayVerify(kid string) bool {
	keys := *k.keys.Load()
	if _, ok := keys[kid]; ok || len(keys) == 0 {
		return true
	}
	k.StartFetch()
	return k.isFetchFailed.Load()
}
