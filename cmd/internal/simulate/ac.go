package simulate

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
	URL    string
	mood   atomic.Int32
	server *http.Server
	quit   chan struct{}
}

func newAC(tokenLife time.Duration) (*AC, error) {
	issuer, err := devauth.New("", time.Now)
	if err != nil {
		return nil, err
	}
	issuer.SetTokenLife(tokenLife)
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

func (ac *AC) serve(w http.ResponseWriter, r *http.Request) {
	switch acMood(ac.mood.Load()) {
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
