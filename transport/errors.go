// Package transport has the parts that the transports share: the one table from an error to its codes and its public text.
package transport

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"

	"darktower.example/global-controller/service"
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
		Name:    "NOT_FOUND",
		Message: "Controller not registered",
	}},
	{service.ErrSuperseded, Status{
		GRPC:    codes.FailedPrecondition,
		HTTP:    http.StatusConflict,
		Name:    "CONFLICT",
		Message: "Another incarnation of this controller is registered",
	}},
	{service.ErrConflict, Status{
		GRPC:    codes.Aborted,
		HTTP:    http.StatusConflict,
		Name:    "CONFLICT",
		Message: "The controller's generation has changed",
	}},
	{service.ErrGone, Status{
		GRPC:    codes.OutOfRange,
		HTTP:    http.StatusGone,
		Name:    "NOT_FOUND",
		Message: "The history does not continue after this cursor: it was replaced, or later transitions were pruned; start again without it",
	}},
	{service.ErrUnauthenticated, Status{
		GRPC:    codes.Unauthenticated,
		HTTP:    http.StatusUnauthorized,
		Name:    "INVALID_TOKEN",
		Message: "Invalid token",
	}},
	{service.ErrForbidden, Status{
		GRPC:    codes.PermissionDenied,
		HTTP:    http.StatusForbidden,
		Name:    "FORBIDDEN",
		Message: "Access denied",
	}},
	{service.ErrRateLimited, Status{
		GRPC:    codes.ResourceExhausted,
		HTTP:    http.StatusTooManyRequests,
		Name:    "RATE_LIMIT_EXCEEDED",
		Message: "Rate limit exceeded",
	}},
	{service.ErrUnavailable, Status{
		GRPC:    codes.Unavailable,
		HTTP:    http.StatusServiceUnavailable,
		Name:    "SERVICE_UNAVAILABLE",
		Message: "Service temporarily unavailable",
	}},
	{context.DeadlineExceeded, Status{
		GRPC:    codes.DeadlineExceeded,
		HTTP:    http.StatusGatewayTimeout,
		Name:    "SERVICE_UNAVAILABLE",
		Message: "Deadline exceeded",
	}},
	{context.Canceled, Status{
		GRPC:    codes.Canceled,
		HTTP:    499,
		Name:    "BAD_REQUEST",
		Message: "The caller cancelled the call",
	}},
}

// StatusOf returns the status of err: OK for nil, and Internal with a fixed text for an error that is not in the table.
func StatusOf(err error) Status {
	if err == nil {
		return Status{GRPC: codes.OK, HTTP: http.StatusOK, Name: "OK"}
	}

	// Errors whose own text is public.
	var (
		invalid    *service.InvalidError
		unsafe     *service.UnsafeError
		ownerLimit *service.OwnerLimitError
	)
	switch {
	case errors.As(err, &invalid):
		return Status{GRPC: codes.InvalidArgument, HTTP: http.StatusBadRequest, Name: "BAD_REQUEST", Message: invalid.Message}
	case errors.As(err, &unsafe):
		return Status{GRPC: codes.FailedPrecondition, HTTP: http.StatusConflict, Name: "CONFLICT", Message: unsafe.Error()}
	case errors.As(err, &ownerLimit):
		return Status{
			GRPC:    codes.ResourceExhausted,
			HTTP:    http.StatusTooManyRequests,
			Name:    "RATE_LIMIT_EXCEEDED",
			Message: ownerLimit.Error(),
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
	return Status{GRPC: codes.Internal, HTTP: http.StatusInternalServerError, Name: "INTERNAL_ERROR", Message: "Internal error"}
}
