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
	// wallSlack is how far the wall clock may fall behind the other one before a token is renewed for it.
	wallSlack    = 5 * time.Second
	fetchTimeout = 10 * time.Second
	minFetchWait = time.Second
	maxFetchWait = 30 * time.Second
	// settled is how long a token must have been in use for its refusal to say nothing against the next one.
	settled = time.Minute
)

// TokenConfig says where tokens come from.
type TokenConfig struct {
	// URL is the base address of the auth controller.
	URL          string
	ClientID     string
	ClientSecret Secret
	// Scope is empty for all that the client has.
	Scope string
	// HTTPClient is nil for one that suits; redirects to other hosts are refused by either.
	HTTPClient *http.Client
	// Now is the wall clock; nil: the machine's.
	Now func() time.Time
	// Metrics and Logger are nil for none.
	Metrics *Metrics
	Logger  log.Logger
}

// ClientCredentials gets tokens from an auth controller's token endpoint, and renews them ahead of their end. While
// the auth controller is not to be had the token that there is goes on being used.
type ClientCredentials struct { //nolint:revive // OAuth has the name for the grant.
	cfg    TokenConfig // Without the secret.
	secret sealed
	client *http.Client
	// elapsed is a clock that nobody sets. The wall clock is asked as well, as this one stops while the machine sleeps.
	elapsed func() time.Duration
	random  func() float64
	life    context.Context //nolint:containedctx // It is no call's context but the source's own life.
	end     context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	token    sealed // nil: none.
	got      moment
	lasts    time.Duration
	renew    time.Duration // The age to renew at.
	fetching *fetch        // nil: none is under way.
	failures int           // In a row.
	refusals int           // By the service, in a row.
	next     time.Duration // On elapsed: no fetch before.
	err      error         // Why the last fetch failed.
}

// moment is a time by both clocks.
type moment struct {
	wall    time.Time
	elapsed time.Duration
}

// fetch is one that all wait for who have no token.
type fetch struct {
	done chan struct{}
	err  error
}

// NewTokenSource checks the settings; it calls nobody.
func NewTokenSource(cfg TokenConfig) (*ClientCredentials, error) {
	base, err := url.Parse(strings.TrimSuffix(cfg.URL, "/"))
	switch {
	case err != nil, base.Scheme != "http" && base.Scheme != "https", base.Host == "":
		return nil, errors.New("token source: URL must be that of the auth controller, http or https")
	case base.User != nil, base.RawQuery != "", base.Fragment != "":
		return nil, errors.New("token source: URL must have no user info, query or fragment")
	case cfg.ClientID == "", cfg.ClientSecret == "":
		return nil, errors.New("token source: ClientID and ClientSecret are required")
	}
	cfg.URL = base.String()
	secret := seal(string(cfg.ClientSecret))
	cfg.ClientSecret = ""
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = log.NewNopLogger()
	}
	began := time.Now()
	c := &ClientCredentials{
		cfg: cfg, secret: secret, client: tokenClient(cfg.HTTPClient, base), random: rand.Float64,
		elapsed: func() time.Duration { return time.Since(began) },
	}
	c.life, c.end = context.WithCancel(context.Background())
	return c, nil
}

// Close ends a fetch that is under way and waits for it. Nothing else of the source runs by itself, so that whoever
// does not mind a fetch of at most 10 s need not close it.
func (c *ClientCredentials) Close() {
	c.end()
	c.running.Wait()
}

// Token implements [TokenSource]. It waits for the auth controller only when there is no token that may still be
// valid; one that is merely to be renewed is returned while a fetch goes on beside.
func (c *ClientCredentials) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	usable, due := c.judge(c.now())
	if due && c.fetching == nil && c.elapsed() >= c.next {
		c.start()
	}
	token, waiting, err := c.token, c.fetching, c.err
	c.mu.Unlock()
	switch {
	case usable:
		return token.open(), nil
	case waiting == nil:
		return "", fmt.Errorf("wait to ask again: %w", err)
	}
	select {
	case <-ctx.Done():
		return "", fmt.Errorf("get token: %w", ctx.Err())
	case <-waiting.done:
	}
	if waiting.err != nil {
		return "", waiting.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == nil {
		return "", errors.New("get token: the new one is refused already")
	}
	return c.token.open(), nil
}

// Invalidate implements [TokenSource]. A service that refuses new tokens as well does not make for a run on the auth
// controller.
func (c *ClientCredentials) Invalidate(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == nil || c.token.open() != token {
		return // Somebody else has said so, and there may be a new one.
	}
	now := c.now()
	if now.elapsed-c.got.elapsed > settled {
		c.refusals = 0
	}
	if c.refusals > 0 {
		c.next = max(c.next, now.elapsed+c.wait(c.refusals))
	}
	c.refusals++
	c.token, c.err = nil, errors.New("the service refused the token")
}

func (c *ClientCredentials) now() moment {
	return moment{c.cfg.Now().Round(0), c.elapsed()}
}

// judge tells whether the token may still be valid, and whether it is time for another. Each clock may be wrong in
// its own way, so either can say that it is time; only both together say that it is too late.
func (c *ClientCredentials) judge(now moment) (usable, due bool) {
	if c.token == nil {
		return false, true
	}
	elapsed, wall := now.elapsed-c.got.elapsed, now.wall.Sub(c.got.wall)
	usable = min(elapsed, wall) < c.lasts
	due = max(elapsed, wall) >= c.renew || elapsed-wall > wallSlack
	return usable, due
}

// start begins a fetch. The caller holds the lock. No caller's context counts for it: the others wait for it too.
func (c *ClientCredentials) start() {
	f := &fetch{done: make(chan struct{})}
	c.fetching = f
	c.running.Go(func() {
		ctx, cancel := context.WithTimeout(c.life, fetchTimeout)
		defer cancel()
		asked := c.now() // Its life counts from when it was asked for: the answer may take long.
		token, lasts, err := c.fetch(ctx)
		c.finish(f, asked, token, lasts, err)
	})
}

func (c *ClientCredentials) finish(f *fetch, asked moment, token string, lasts time.Duration, err error) {
	c.cfg.Metrics.tokenFetched(err)
	if err != nil && c.life.Err() == nil {
		_ = level.Warn(c.cfg.Logger).Log("msg", "cannot get a token", "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)
	c.fetching, f.err, c.err = nil, err, err
	if err != nil {
		c.failures++
		c.next = c.elapsed() + c.wait(c.failures)
		return
	}
	c.failures = 0
	c.token, c.got, c.lasts = seal(token), asked, lasts
	// By chance, so that those who got theirs together do not renew them together.
	c.renew = time.Duration(float64(lasts) * (0.6 + 0.2*c.random()))
}

// wait is 1 s, doubled each time up to 30 s, less up to a half by chance.
func (c *ClientCredentials) wait(times int) time.Duration {
	full := min(minFetchWait<<min(times-1, 10), maxFetchWait)
	return time.Duration(float64(full) * (0.5 + 0.5*c.random()))
}
