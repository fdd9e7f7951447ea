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
	// ErrAbandon as the cause of the end of Run's context (context.WithCancelCause) makes Run return at once without a
	// goodbye, as a crash would.
	ErrAbandon = errors.New("abandoned")
	// ErrSuperseded is what Run returns when another process has registered under the id since. Whoever came later is
	// the controller: two that took it from each other in turn would serve nobody.
	ErrSuperseded = errors.New("another process has registered under the controller's id")

	errRunning = errors.New("the client runs already")
	errClosed  = errors.New("the connection is closed")
	errNoAck   = errors.New("not acknowledged")
)

// errStreamOver is a stream that the Global Controller ended as if nothing were left to say.
var errStreamOver = &failure{code: codes.Unavailable, message: "the stream ended before the answer came"}

// RegistrationError is what Run returns when the Global Controller calls the registration invalid: trying again would
// change nothing.
type RegistrationError struct {
	// Message is what the Global Controller says is wrong.
	Message string
}

// Error implements error.
func (e *RegistrationError) Error() string {
	return "the registration is invalid: " + e.Message
}

// failure is a call that was not answered as hoped.
type failure struct {
	code    codes.Code
	message string
	// retryAfter is when the Global Controller wishes to be called again; 0: it did not say.
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

// Unwrap gives errors.Is the cause.
func (f *failure) Unwrap() error { return f.err }

// failureFrom reads what gRPC returned. ctx is the call's: when it is over, that is the reason, whatever gRPC made of
// it.
func failureFrom(ctx context.Context, err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	s := status.Convert(err)
	f := &failure{code: s.Code(), message: s.Message()}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &failure{code: codes.DeadlineExceeded, message: "no answer in time", err: context.DeadlineExceeded}
	case ctx.Err() != nil:
		return &failure{code: codes.Canceled, message: "given up", err: ctx.Err()}
	case f.code == codes.OK, f.code == codes.Canceled:
		// Nobody here gave up on the call, so somebody closed the connection.
		f.code = codes.Unavailable
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			f.retryAfter = max(0, info.GetRetryDelay().AsDuration())
		}
	}
	return f
}

// codeOf is the code of a call's error.
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
