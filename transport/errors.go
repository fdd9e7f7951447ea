// Package transport holds what the transports share: the one table from an error to its codes and public text.
package transport

import (
	"context"
	"errors"
	"net/http"

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
}

type row struct {
	err    error
	status Status
}

// table is read from the top; the first error that matches decides. An error of ours that wraps a context's error
// comes before the context's own.
func table() []row {
	return []row{
		{service.ErrNotRegistered, Status{codes.NotFound, http.StatusNotFound, "NOT_FOUND", "Controller not registered"}},
		{service.ErrUnauthenticated, Status{codes.Unauthenticated, http.StatusUnauthorized, "INVALID_TOKEN", "Invalid token"}},
		{service.ErrForbidden, Status{codes.PermissionDenied, http.StatusForbidden, "FORBIDDEN", "Access denied"}},
		{service.ErrRateLimited, Status{codes.ResourceExhausted, http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded"}},
		{service.ErrUnavailable, Status{codes.Unavailable, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "Service temporarily unavailable"}},
		{context.DeadlineExceeded, Status{codes.DeadlineExceeded, http.StatusGatewayTimeout, "SERVICE_UNAVAILABLE", "Deadline exceeded"}},
		{context.Canceled, Status{codes.Canceled, 499, "BAD_REQUEST", "The caller went away"}},
	}
}

var rows = table()

// StatusOf returns the status of err. What is not in the table is Internal with a fixed text; nil is OK.
func StatusOf(err error) Status {
	if err == nil {
		return Status{codes.OK, http.StatusOK, "OK", ""}
	}
	var invalid *service.InvalidError
	if errors.As(err, &invalid) {
		return Status{codes.InvalidArgument, http.StatusBadRequest, "BAD_REQUEST", invalid.Message}
	}
	for _, r := range rows {
		if errors.Is(err, r.err) {
			return r.status
		}
	}
	return Status{codes.Internal, http.StatusInternalServerError, "INTERNAL_ERROR", "Internal error"}
}
