package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrAbandon as the cause of the end of Run's context (context.WithCancelCause) makes Run return at once without a final
	// call, as a crash would.
	ErrAbandon = errors.New("abandoned")
	// ErrSuperseded is what Run returns after another process has registered under the same controller id. The later process
	// keeps the id: if both kept registering, neither could serve.
	ErrSuperseded = errors.New("another process has registered under the controller's id")

	errRunning         = errors.New("the client is already running")
	errClosed          = errors.New("the connection is closed")
	errNotAcknowledged = errors.New("the response does not acknowledge the call")
)

// errStreamEnded is the failure of a heartbeat whose stream the Global Controller ended without an error.
var errStreamEnded = &failure{code: codes.Unavailable, message: "the stream ended before the response arrived"}

// RegistrationError is what Run returns if the Global Controller rejects the registration as invalid. A retry would fail
// as well: correct the configuration.
type RegistrationError struct {
	// Message is the explanation of the Global Controller.
	Message string
}

// Error implements error.
func (e *RegistrationError) Error() string {
	return "the registration is invalid: " + e.Message
}

// failure is the error of a failed call.
type failure struct {
	code    codes.Code
	message string
	// retryAfter is the delay that the Global Controller requests before the next call; 0: none.
	retryAfter time.Duration
	err        error
}

// Error implements error.
func (f *failure) Error() string {
	if f.err != nil {
		return f.err.Error()
	}
	return fmt.Sprintf("%v: %s", f.code, f.message)
}

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// newFailure converts an error of gRPC. ctx is the context of the call: if it has ended, that is the cause, whatever gRPC
// returned.
func newFailure(ctx context.Context, err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}

	s := status.Convert(err)
	f := &failure{code: s.Code(), message: s.Message()}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &failure{code: codes.DeadlineExceeded, message: "timeout", err: context.DeadlineExceeded}
	case ctx.Err() != nil:
		return &failure{code: codes.Canceled, message: "cancelled", err: ctx.Err()}
	case f.code == codes.OK, f.code == codes.Canceled:
		// The caller did not cancel the call, so the connection was closed.
		f.code = codes.Unavailable
	}

	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			f.retryAfter = max(0, info.GetRetryDelay().AsDuration())
		}
	}
	return f
}

// codeOf returns the gRPC code of a call's error.
func codeOf(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return codes.Unknown
}

func retryAfterOf(err error) time.Duration {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.retryAfter
	}
	return 0
}
