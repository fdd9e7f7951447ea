// Package transport holds what the transports share: the one table from an error to its codes and public text.
package transport

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"

	"darktower.example/global-controller/service"
)

// Status is how an error looks to a caller, on either transport.
type Status struct {
	GRPC codes.Code
	HTTP int
	// Name is the code in HTTP's error body.
	Name string
	// Message is public: it never carries what caused the error.
	Message string
	// RetryAfter is when to try again, as far as that is known; 0 otherwise.
	RetryAfter time.Duration
}

type row struct {
	err    error
	status Status
}

// table is read from the top; the first error that matches decides. An error of ours that wraps a context's error
// comes before the context's own.
func table() []row {
	return []row{
		{service.ErrNotRegistered, Status{codes.NotFound, http.StatusNotFound, "NOT_FOUND", "Controller not registered", 0}},
		{service.ErrSuperseded, Status{codes.FailedPrecondition, http.StatusConflict, "CONFLICT", "Another incarnation of this controller is registered", 0}},
		{service.ErrConflict, Status{codes.Aborted, http.StatusConflict, "CONFLICT", "The controller is not of the expected generation any more", 0}},
		{service.ErrGone, Status{
			GRPC:    codes.OutOfRange,
			HTTP:    http.StatusGone,
			Name:    "NOT_FOUND",
			Message: "The history does not go on from there: it was replaced, or what followed is no longer kept; begin again without after",
		}},
		{service.ErrUnauthenticated, Status{codes.Unauthenticated, http.StatusUnauthorized, "INVALID_TOKEN", "Invalid token", 0}},
		{service.ErrForbidden, Status{codes.PermissionDenied, http.StatusForbidden, "FORBIDDEN", "Access denied", 0}},
		{service.ErrRateLimited, Status{codes.ResourceExhausted, http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded", 0}},
		{service.ErrUnavailable, Status{codes.Unavailable, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "Service temporarily unavailable", 0}},
		{context.DeadlineExceeded, Status{codes.DeadlineExceeded, http.StatusGatewayTimeout, "SERVICE_UNAVAILABLE", "Deadline exceeded", 0}},
		{context.Canceled, Status{codes.Canceled, 499, "BAD_REQUEST", "The caller went away", 0}},
	}
}

var rows = table()

// StatusOf returns the status of err. What is not in the table is Internal with a fixed text; nil is OK.
func StatusOf(err error) Status {
	if err == nil {
		return Status{codes.OK, http.StatusOK, "OK", "", 0}
	}
	var invalid *service.InvalidError
	if errors.As(err, &invalid) {
		return Status{codes.InvalidArgument, http.StatusBadRequest, "BAD_REQUEST", invalid.Message, 0}
	}
	var unsafe *service.UnsafeError
	if errors.As(err, &unsafe) {
		return Status{codes.FailedPrecondition, http.StatusConflict, "CONFLICT", unsafe.Error(), 0}
	}
	var full *service.OwnerLimitError
	if errors.As(err, &full) {
		return Status{codes.ResourceExhausted, http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", full.Error(), 0}
	}
	for _, r := range rows {
		if errors.Is(err, r.err) {
			status := r.status
			var retry *service.RetryError
			if errors.As(err, &retry) {
				status.RetryAfter = retry.After
			}
			return status
		}
	}
	return Status{codes.Internal, http.StatusInternalServerError, "INTERNAL_ERROR", "Internal error", 0}
}
