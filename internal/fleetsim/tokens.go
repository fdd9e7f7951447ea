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

// tokens are a controller's, or those of several. They tell when the last one came, and have a clock that can be wrong.
type tokens struct {
	client.TokenSource
	end    func()       // nil when there is nothing to end
	offset atomic.Int64 // of the clock, in nanoseconds

	mu      sync.Mutex
	last    string
	renewed time.Time
}

func newTokens(url string, c devauth.Client, calls *http.Client) (*tokens, error) {
	t := &tokens{}
	source, err := client.NewTokenSource(client.TokenConfig{URL: url, ClientID: c.ID, ClientSecret: client.Secret(c.Secret), HTTPClient: calls, Now: t.now})
	if err != nil {
		return nil, err
	}
	t.TokenSource, t.end = source, source.Close
	return t, nil
}

// Close ends what is under way.
func (t *tokens) Close() {
	if t.end != nil {
		t.end()
	}
}

func (t *tokens) now() time.Time {
	// Without the monotonic part, which no jump of a wall clock moves.
	return time.Now().Round(0).Add(time.Duration(t.offset.Load()))
}

// Jump moves the clock.
func (t *tokens) Jump(by time.Duration) { t.offset.Add(int64(by)) }

// Token implements [client.TokenSource].
func (t *tokens) Token(ctx context.Context) (string, error) {
	token, err := t.TokenSource.Token(ctx)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if token != t.last {
		t.last, t.renewed = token, time.Now()
	}
	return token, nil
}

// Renewed is when another token was first used.
func (t *tokens) Renewed() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.renewed
}
