// Package transport has the parts that the transports share: the table from an error to its codes and its public text, and the
// request id.
package transport

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

// The codes in HTTP's error body. The log of calls has them too.
const (
	CodeOK                 = "OK"
	CodeBadRequest         = "BAD_REQUEST"
	CodeInvalidToken       = "INVALID_TOKEN"
	CodeForbidden          = "FORBIDDEN"
	CodeNotFound           = "NOT_FOUND"
	CodeConflict           = "CONFLICT"
	CodeRateLimitExceeded  = "RATE_LIMIT_EXCEEDED"
	CodeInternalError      = "INTERNAL_ERROR"
	CodeServiceUnavailable = "SERVICE_UNAVAILABLE"
)

// Status is the form of an error that callers receive, on either transport.
type Status struct {
	GRPC codes.Code
	HTTP int
	// Name is the code in HTTP's error body.
	Name string
	// Message is public: it never includes the cause of the error.
	Message string
	// RetryAfter is the delay before the next attempt, 0 if unknown.
	RetryAfter time.Duration
}

// noCandidateDelay is the retry delay if no controller is eligible: a heartbeat may change that at any time.
const noCandidateDelay = 2 * time.Second

// statusRow is the status of one error.
type statusRow struct {
	err    error
	status Status
}

// statusTable has the rows in the order in which they are matched; the first error that matches decides. An error of the
// service that wraps a context's error comes before the context's own.
var statusTable = []statusRow{
	{service.ErrNotRegistered, Status{
		GRPC:    codes.NotFound,
		HTTP:    http.StatusNotFound,
		Name:    CodeNotFound,
		Message: "Controller not registered",
	}},
	{service.ErrNotAssigned, Status{
		GRPC:    codes.NotFound,
		HTTP:    http.StatusNotFound,
		Name:    CodeNotFound,
		Message: "Meeting not assigned",
	}},
	{service.ErrSuperseded, Status{
		GRPC:    codes.FailedPrecondition,
		HTTP:    http.StatusConflict,
		Name:    CodeConflict,
		Message: "Another incarnation of this controller is registered",
	}},
	{service.ErrConflict, Status{
		GRPC:    codes.Aborted,
		HTTP:    http.StatusConflict,
		Name:    CodeConflict,
		Message: "The generation has changed",
	}},
	{service.ErrGone, Status{
		GRPC:    codes.OutOfRange,
		HTTP:    http.StatusGone,
		Name:    CodeNotFound,
		Message: "The history does not continue after this cursor: it was replaced, or later transitions were pruned; start again without it",
	}},
	{service.ErrUnauthenticated, Status{
		GRPC:    codes.Unauthenticated,
		HTTP:    http.StatusUnauthorized,
		Name:    CodeInvalidToken,
		Message: "Invalid token",
	}},
	{service.ErrForbidden, Status{
		GRPC:    codes.PermissionDenied,
		HTTP:    http.StatusForbidden,
		Name:    CodeForbidden,
		Message: "Access denied",
	}},
	{service.ErrRateLimited, Status{
		GRPC:    codes.ResourceExhausted,
		HTTP:    http.StatusTooManyRequests,
		Name:    CodeRateLimitExceeded,
		Message: "Rate limit exceeded",
	}},
	{service.ErrUnavailable, Status{
		GRPC:    codes.Unavailable,
		HTTP:    http.StatusServiceUnavailable,
		Name:    CodeServiceUnavailable,
		Message: "Service temporarily unavailable",
	}},
	{context.DeadlineExceeded, Status{
		GRPC:    codes.DeadlineExceeded,
		HTTP:    http.StatusGatewayTimeout,
		Name:    CodeServiceUnavailable,
		Message: "Deadline exceeded",
	}},
	{context.Canceled, Status{
		GRPC:    codes.Canceled,
		HTTP:    499,
		Name:    CodeBadRequest,
		Message: "The caller cancelled the call",
	}},
}

// StatusOf returns the status of err: OK for nil, and Internal with a fixed text for an error that is not in the table.
func StatusOf(err error) Status {
	if err == nil {
		return Status{GRPC: codes.OK, HTTP: http.StatusOK, Name: CodeOK}
	}

	// Errors whose own text is public.
	var (
		invalid    *service.InvalidError
		unsafe     *service.UnsafeError
		ownerLimit *service.OwnerLimitError
		none       *service.NoCandidateError
	)
	switch {
	case errors.As(err, &invalid):
		return Status{GRPC: codes.InvalidArgument, HTTP: http.StatusBadRequest, Name: CodeBadRequest, Message: invalid.Message}
	case errors.As(err, &unsafe):
		return Status{GRPC: codes.FailedPrecondition, HTTP: http.StatusConflict, Name: CodeConflict, Message: unsafe.Error()}
	case errors.As(err, &ownerLimit):
		return Status{
			GRPC:    codes.ResourceExhausted,
			HTTP:    http.StatusTooManyRequests,
			Name:    CodeRateLimitExceeded,
			Message: ownerLimit.Error(),
		}
	case errors.As(err, &none):
		return Status{
			GRPC:       codes.Unavailable,
			HTTP:       http.StatusServiceUnavailable,
			Name:       CodeServiceUnavailable,
			Message:    none.Error(),
			RetryAfter: noCandidateDelay,
		}
	}

	for _, r := range statusTable {
		if errors.Is(err, r.err) {
			status := r.status
			var retry *service.RetryError
			if errors.As(err, &retry) {
				status.RetryAfter = retry.After
			}
			return status
		}
	}
	return Status{GRPC: codes.Internal, HTTP: http.StatusInternalServerError, Name: CodeInternalError, Message: "Internal error"}
}

// OutcomeOf returns the code of err and its class for the log of calls.
func OutcomeOf(err error) (code string, class endpoints.OutcomeClass) {
	code = StatusOf(err).Name
	if errors.As(err, new(*service.NoCandidateError)) {
		return code, endpoints.OtherOutcome // A full region is no failure of the server.
	}
	switch code {
	case CodeInternalError, CodeServiceUnavailable:
		return code, endpoints.ServerFailure
	case CodeInvalidToken, CodeForbidden, CodeRateLimitExceeded:
		return code, endpoints.AccessRefused
	default:
		return code, endpoints.OtherOutcome
	}
}
