package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

const (
	// maxWallClockLag is how far the wall clock may fall behind the monotonic clock before the token is renewed.
	maxWallClockLag = 5 * time.Second
	fetchTimeout    = 10 * time.Second
	minFetchDelay   = time.Second
	maxFetchDelay   = 30 * time.Second
	// refusalWindow is the age of a token from which its refusal no longer delays the fetch of the next one.
	refusalWindow = time.Minute
)

// TokenConfig configures a source of tokens.
type TokenConfig struct {
	// URL is the base address of the auth controller.
	URL          string
	ClientID     string
	ClientSecret Secret
	// Scope is empty for all scopes of the client.
	Scope string
	// HTTPClient is nil for a client with suitable defaults. Redirects to other hosts are refused with any client.
	HTTPClient *http.Client
	// Now is the wall clock. Nil: the clock of the machine.
	Now func() time.Time
	// Metrics and Logger are optional.
	Metrics *Metrics
	Logger  log.Logger
}

// ClientCredentials gets tokens from the token endpoint of an auth controller and renews them before they expire. While the
// auth controller is not available, it returns the current token until that expires.
type ClientCredentials struct { //nolint:revive // OAuth has the name for the grant.
	cfg        TokenConfig // Without the secret.
	secret     sealedSecret
	httpClient *http.Client
	// monotonic is a clock that is never set. The wall clock is read as well, because the monotonic clock stops while the
	// machine is suspended.
	monotonic func() time.Duration
	random    func() float64

	// ctx ends when the source is closed. Fetches use it, because several callers wait for one fetch.
	ctx     context.Context //nolint:containedctx // It belongs to the source, not to a call.
	cancel  context.CancelFunc
	fetches sync.WaitGroup

	mu          sync.Mutex
	token       sealedSecret // nil: none.
	requestedAt clockReading // When the token was requested.
	lifetime    time.Duration
	renewalAge  time.Duration
	// currentFetch is nil if no fetch is under way.
	currentFetch *tokenFetch
	// fetchFailures and refusals count failed fetches and tokens that the service refused, each in a row.
	fetchFailures, refusals int
	// nextFetch is the earliest time of the next fetch, by the monotonic clock.
	nextFetch time.Duration
	// lastErr is why there is no token.
	lastErr error
}

// clockReading is one time, read from both clocks.
type clockReading struct {
	wall      time.Time
	monotonic time.Duration
}

// tokenFetch is a fetch that all callers without a token wait for.
type tokenFetch struct {
	done chan struct{}
	err  error // Set before done is closed.
}

// NewTokenSource validates the configuration and returns a source. It makes no call.
func NewTokenSource(cfg TokenConfig) (*ClientCredentials, error) {
	base, err := url.Parse(strings.TrimSuffix(cfg.URL, "/"))
	switch {
	case err != nil, base.Scheme != "http" && base.Scheme != "https", base.Host == "":
		return nil, errors.New("token source: URL must be the http or https address of the auth controller")
	case base.User != nil, base.RawQuery != "", base.Fragment != "":
		return nil, errors.New("token source: URL must have no user info, query or fragment")
	case cfg.ClientID == "", cfg.ClientSecret == "":
		return nil, errors.New("token source: ClientID and ClientSecret are required")
	}

	cfg.URL = base.String()
	secret := sealSecret(string(cfg.ClientSecret))
	cfg.ClientSecret = ""
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = log.NewNopLogger()
	}

	began := time.Now()
	c := &ClientCredentials{
		cfg:        cfg,
		secret:     secret,
		httpClient: newTokenHTTPClient(cfg.HTTPClient, base),
		random:     rand.Float64,
		monotonic:  func() time.Duration { return time.Since(began) },
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close cancels a fetch that is under way and waits for its end. A source that is not closed leaks nothing else: a fetch
// ends after 10 s at the latest.
func (c *ClientCredentials) Close() {
	c.cancel()
	c.fetches.Wait()
}

// Token implements [TokenSource]. It waits for the auth controller only if there is no token that may still be valid. A
// token that is due for renewal is returned while the fetch runs in the background.
func (c *ClientCredentials) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	isUsable, isDue := c.tokenState(c.readClocks())
	if isDue && c.currentFetch == nil && c.monotonic() >= c.nextFetch {
		c.startFetchLocked()
	}
	token, pending, lastErr := c.token, c.currentFetch, c.lastErr
	retryIn := c.nextFetch - c.monotonic()
	c.mu.Unlock()

	switch {
	case isUsable:
		return token.open(), nil
	case pending == nil:
		return "", fmt.Errorf("get token: the next attempt is in %v: %w", retryIn.Round(time.Millisecond), lastErr)
	}

	select {
	case <-ctx.Done():
		return "", fmt.Errorf("get token: %w", ctx.Err())
	case <-pending.done:
	}
	if pending.err != nil {
		return "", fmt.Errorf("get token: %w", pending.err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == nil {
		return "", errors.New("get token: the service has already refused the new token")
	}
	return c.token.open(), nil
}

// Invalidate implements [TokenSource]. If the service refuses new tokens as well, fetches are delayed more and more, which
// protects the auth controller.
func (c *ClientCredentials) Invalidate(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.token == nil || c.token.open() != token {
		return // Another caller has invalidated it before, and there may be a new one.
	}
	now := c.readClocks()
	if now.monotonic-c.requestedAt.monotonic > refusalWindow {
		c.refusals = 0
	}
	if c.refusals > 0 {
		c.nextFetch = max(c.nextFetch, now.monotonic+c.retryDelay(c.refusals))
	}

	c.refusals++
	c.token = nil
	c.lastErr = errors.New("the service refused the token")
}

func (c *ClientCredentials) readClocks() clockReading {
	return clockReading{wall: c.cfg.Now().Round(0), monotonic: c.monotonic()}
}

// tokenState reports whether the token may still be valid, and whether a new one is due. Each of the clocks may be wrong, so
// a renewal is due if either of them says so. The token is unusable only if both clocks agree that it has expired.
func (c *ClientCredentials) tokenState(now clockReading) (isUsable, isDue bool) {
	if c.token == nil {
		return false, true
	}

	monotonicAge := now.monotonic - c.requestedAt.monotonic
	wallAge := now.wall.Sub(c.requestedAt.wall)
	isUsable = min(monotonicAge, wallAge) < c.lifetime
	isDue = max(monotonicAge, wallAge) >= c.renewalAge || monotonicAge-wallAge > maxWallClockLag
	return isUsable, isDue
}

// startFetchLocked starts a fetch in the background. The caller holds the lock. The fetch does not use the context of a caller,
// because other callers wait for it too.
func (c *ClientCredentials) startFetchLocked() {
	f := &tokenFetch{done: make(chan struct{})}
	c.currentFetch = f
	c.fetches.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, fetchTimeout)
		defer cancel()

		requestedAt := c.readClocks() // The lifetime counts from the request, because the response may be slow.
		token, lifetime, err := c.requestToken(ctx)
		c.finishFetch(f, requestedAt, token, lifetime, err)
	})
}

func (c *ClientCredentials) finishFetch(f *tokenFetch, requestedAt clockReading, token string, lifetime time.Duration, err error) {
	c.cfg.Metrics.countTokenFetch(err)
	if err != nil && c.ctx.Err() == nil {
		_ = level.Warn(c.cfg.Logger).Log("msg", "token request failed", "err", err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)

	c.currentFetch = nil
	f.err = err
	c.lastErr = err
	if err != nil {
		c.fetchFailures++
		c.nextFetch = c.monotonic() + c.retryDelay(c.fetchFailures)
		return
	}

	c.fetchFailures = 0
	c.token = sealSecret(token)
	c.requestedAt = requestedAt
	c.lifetime = lifetime
	// Random, so that clients that got their tokens together do not renew them together.
	c.renewalAge = time.Duration(float64(lifetime) * (0.6 + 0.2*c.random()))
}

// retryDelay returns how long to wait after that many failures in a row. It is 1 s, doubled each time up to 30 s, less a random
// part of up to a half.
func (c *ClientCredentials) retryDelay(failures int) time.Duration {
	full := min(minFetchDelay<<min(failures-1, 10), maxFetchDelay)
	return time.Duration(float64(full) * (0.5 + 0.5*c.random()))
}
