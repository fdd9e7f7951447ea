package fleetsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"darktower.example/global-controller/pkg/devauth"
)

// acMood is how an auth controller answers.
type acMood int32

// The moods: as it should; with status 500; with what is no JSON; not at all.
const (
	acWell acMood = iota
	acErrors
	acGarbage
	acSilent
)

// AC is an auth controller that can be made to misbehave.
type AC struct {
	*devauth.Server
	URL     string
	mood    atomic.Int32
	refused atomic.Int64 // tokens that were asked for in vain
	server  *http.Server
	quit    chan struct{}
}

func newAC() (*AC, error) {
	issuer, err := devauth.New("", time.Now)
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the auth controller: %w", err)
	}
	ac := &AC{Server: issuer, URL: "http://" + listener.Addr().String(), quit: make(chan struct{})}
	ac.server = &http.Server{Handler: http.HandlerFunc(ac.serve), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = ac.server.Serve(listener) }()
	return ac, nil
}

// Become changes how the auth controller answers from now on.
func (ac *AC) Become(mood acMood) { ac.mood.Store(int32(mood)) }

// Refused is how many requests for a token were not answered as they should have been.
func (ac *AC) Refused() int { return int(ac.refused.Load()) }

func (ac *AC) serve(w http.ResponseWriter, r *http.Request) {
	mood := acMood(ac.mood.Load())
	if mood != acWell && r.Method == http.MethodPost {
		ac.refused.Add(1)
	}
	switch mood {
	case acErrors:
		http.Error(w, "internal error", http.StatusInternalServerError)
	case acGarbage:
		_, _ = w.Write([]byte("<html>{\"access_token\":\x00\xff"))
	case acSilent:
		select {
		case <-r.Context().Done():
		case <-ac.quit:
		}
	default:
		ac.ServeHTTP(w, r)
	}
}

// Close ends the auth controller.
func (ac *AC) Close() error {
	close(ac.quit)
	if err := ac.server.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("end the auth controller: %w", err)
	}
	return nil
}

// String says in a word what is answered.
func (m acMood) String() string {
	return [...]string{"as it should", "errors", "garbage", "nothing"}[m]
}

// readerOf signs tokens that may read the fleet: not over the token endpoint, which a scenario may take away, and each
// time anew, as it may change the key as well.
type readerOf struct{ ac *AC }

// Token implements [client.TokenSource].
func (r readerOf) Token(context.Context) (string, error) {
	return r.ac.Token("dev-reader", map[string]any{"scope": "gc:read", "exp": time.Now().Add(time.Hour).Unix()})
}

// Invalidate implements [client.TokenSource].
func (readerOf) Invalidate(string) {}
