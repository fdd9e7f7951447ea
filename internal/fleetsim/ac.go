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

// acResponse is how an auth controller responds to requests.
type acResponse int32

const (
	acNormal  acResponse = iota
	acErrors             // status 500
	acInvalid            // not JSON
	acNone               // no response
)

// String describes the responses in the output.
func (r acResponse) String() string {
	return [...]string{"normal responses", "errors", "invalid responses", "no response"}[r]
}

// AC is an auth controller with faults that a scenario can switch on.
type AC struct {
	*devauth.Server
	URL string

	response            atomic.Int32
	failedTokenRequests atomic.Int64
	server              *http.Server
	closed              chan struct{}
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

	ac := &AC{
		Server: issuer,
		URL:    "http://" + listener.Addr().String(),
		closed: make(chan struct{}),
	}
	ac.server = &http.Server{Handler: http.HandlerFunc(ac.serve), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = ac.server.Serve(listener) }()
	return ac, nil
}

// SetResponse changes how the auth controller responds from now on.
func (ac *AC) SetResponse(response acResponse) { ac.response.Store(int32(response)) }

// FailedTokenRequests counts the requests for a token that got no normal response.
func (ac *AC) FailedTokenRequests() int { return int(ac.failedTokenRequests.Load()) }

func (ac *AC) serve(w http.ResponseWriter, r *http.Request) {
	response := acResponse(ac.response.Load())
	if response != acNormal && r.Method == http.MethodPost {
		ac.failedTokenRequests.Add(1)
	}

	switch response {
	case acErrors:
		http.Error(w, "internal error", http.StatusInternalServerError)
	case acInvalid:
		_, _ = w.Write([]byte("<html>{\"access_token\":\x00\xff"))
	case acNone:
		select {
		case <-r.Context().Done():
		case <-ac.closed:
		}
	default:
		ac.ServeHTTP(w, r)
	}
}

// Close stops the auth controller.
func (ac *AC) Close() error {
	close(ac.closed)
	if err := ac.server.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stop the auth controller: %w", err)
	}
	return nil
}
