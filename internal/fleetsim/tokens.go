package fleetsim

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"darktower.example/global-controller/pkg/client"
	"darktower.example/global-controller/pkg/devauth"
)

// tokenSource has the tokens of one controller or of several. Its clock can be set to a wrong time.
type tokenSource struct {
	client.TokenSource
	closeSource func()       // nil for a static token
	clockOffset atomic.Int64 // in nanoseconds

	mu        sync.Mutex
	lastToken string
	renewedAt time.Time
}

func newTokenSource(url string, c devauth.Client, calls *http.Client) (*tokenSource, error) {
	t := &tokenSource{}
	source, err := client.NewTokenSource(client.TokenConfig{
		URL:          url,
		ClientID:     c.ID,
		ClientSecret: client.Secret(c.Secret),
		HTTPClient:   calls,
		Now:          t.now,
	})
	if err != nil {
		return nil, err
	}
	t.TokenSource = source
	t.closeSource = source.Close
	return t, nil
}

// Close ends a request that is in progress.
func (t *tokenSource) Close() {
	if t.closeSource != nil {
		t.closeSource()
	}
}

func (t *tokenSource) now() time.Time {
	// Round removes the monotonic reading, which a jump of the wall clock does not change.
	return time.Now().Round(0).Add(time.Duration(t.clockOffset.Load()))
}

// ShiftClock moves the clock forward, or back if by is negative.
func (t *tokenSource) ShiftClock(by time.Duration) { t.clockOffset.Add(int64(by)) }

// Token implements [client.TokenSource].
func (t *tokenSource) Token(ctx context.Context) (string, error) {
	token, err := t.TokenSource.Token(ctx)
	if err != nil {
		return "", err
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if token != t.lastToken {
		t.lastToken = token
		t.renewedAt = time.Now()
	}
	return token, nil
}

// RenewedAt returns when the current token was first used.
func (t *tokenSource) RenewedAt() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.renewedAt
}

// readerTokens signs tokens for reading the fleet. It signs each one again, as a scenario may change the key. It does not
// use the token endpoint, as a scenario may make that fail.
type readerTokens struct{ ac *authController }

// Token implements [client.TokenSource].
func (r readerTokens) Token(context.Context) (string, error) {
	return r.ac.Token("dev-reader", map[string]any{"scope": "gc:read", "exp": time.Now().Add(time.Hour).Unix()})
}

// Invalidate implements [client.TokenSource].
func (readerTokens) Invalidate(string) {}

// newControllerTokens returns tokens for controllers.
func (e *Environment) newControllerTokens(calls *http.Client) (*tokenSource, error) {
	existing := e.opts.Existing
	switch {
	case existing == nil:
		return newTokenSource(e.AuthController.URL, devauth.Clients()[0], calls)
	case existing.AuthControllerURL == "":
		return &tokenSource{TokenSource: client.StaticToken(string(existing.ControllerToken))}, nil
	}
	return newTokenSource(existing.AuthControllerURL, existing.ControllerClient, calls)
}

// newReaderTokens returns the tokens of the history's follower.
func (e *Environment) newReaderTokens() (client.TokenSource, error) {
	existing := e.opts.Existing
	switch {
	case existing == nil:
		return readerTokens{e.AuthController}, nil
	case existing.AuthControllerURL == "":
		return client.StaticToken(string(existing.ReadToken)), nil
	}
	source, err := newTokenSource(existing.AuthControllerURL, existing.ReaderClient, e.readerHTTP)
	if err != nil {
		return nil, err
	}
	e.addCleanup(func() error { source.Close(); return nil })
	return source, nil
}
