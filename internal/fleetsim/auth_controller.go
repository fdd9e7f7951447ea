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

// authResponse is how an auth controller responds to requests.
type authResponse int32

const (
	responseNormal  authResponse = iota
	responseErrors               // status 500
	responseInvalid              // not JSON
	responseNone                 // no response
)

// String describes the responses in the output.
func (r authResponse) String() string {
	return [...]string{"normal responses", "errors", "invalid responses", "no response"}[r]
}

// authController is an auth controller with faults that a scenario can switch on.
type authController struct {
	*devauth.Server
	URL string

	response            atomic.Int32
	failedTokenRequests atomic.Int64
	server              *http.Server
	closed              chan struct{}
}

func newAuthController() (*authController, error) {
	issuer, err := devauth.New("", time.Now)
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the auth controller: %w", err)
	}

	ac := &authController{
		Server: issuer,
		URL:    "http://" + listener.Addr().String(),
		closed: make(chan struct{}),
	}
	ac.server = &http.Server{Handler: http.HandlerFunc(ac.serve), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = ac.server.Serve(listener) }()
	return ac, nil
}

// SetResponse changes how the auth controller responds from now on.
func (ac *authController) SetResponse(response authResponse) { ac.response.Store(int32(response)) }

// FailedTokenRequests counts the requests for a token that got no normal response.
func (ac *authController) FailedTokenRequests() int { return int(ac.failedTokenRequests.Load()) }

func (ac *authController) serve(w http.ResponseWriter, r *http.Request) {
	response := authResponse(ac.response.Load())
	if response != responseNormal && r.Method == http.MethodPost {
		ac.failedTokenRequests.Add(1)
	}

	switch response {
	case responseErrors:
		http.Error(w, "internal error", http.StatusInternalServerError)
	case responseInvalid:
		_, _ = w.Write([]byte("<html>{\"access_token\":\x00\xff"))
	case responseNone:
		select {
		case <-r.Context().Done():
		case <-ac.closed:
		}
	default:
		ac.ServeHTTP(w, r)
	}
}

// Close stops the auth controller.
func (ac *authController) Close() error {
	close(ac.closed)
	if err := ac.server.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stop the auth controller: %w", err)
	}
	return nil
}
