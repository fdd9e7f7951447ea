package transport

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

func TestStatusOf_WrappedErrors(t *testing.T) {
	for _, r := range statusTable {

		got := StatusOf(fmt.Errorf("get controller mc-1: %w: secret detail", r.err))
		if got != r.status {
			t.Errorf("StatusOf(wrapped %v) = %+v, want %+v", r.err, got, r.status)
		}
	}
}

func TestStatusOf(t *testing.T) {
	if got := StatusOf(nil); got.GRPC != codes.OK {
		t.Errorf("StatusOf(nil).GRPC = %v, want OK", got.GRPC)
	}

	got := StatusOf(fmt.Errorf("register: %w", service.Invalid("region is required")))
	if want := (Status{codes.InvalidArgument, 400, "BAD_REQUEST", "region is required", 0}); got != want {
		t.Errorf("StatusOf(invalid) = %+v, want %+v", got, want)
	}

	got = StatusOf(errors.New("pq: syntax error at SELECT"))
	if want := (Status{codes.Internal, 500, "INTERNAL_ERROR", "Internal error", 0}); got != want {
		t.Errorf("StatusOf(unforeseen) = %+v, want %+v", got, want)
	}
}

func TestOutcomeOf(t *testing.T) {
	tests := []struct {
		err       error
		wantCode  string
		wantClass endpoints.OutcomeClass
	}{
		{nil, "OK", endpoints.OtherOutcome},
		{service.ErrNotRegistered, "NOT_FOUND", endpoints.OtherOutcome},
		{service.Invalid("region is required"), "BAD_REQUEST", endpoints.OtherOutcome},
		{service.ErrUnauthenticated, "INVALID_TOKEN", endpoints.AccessRefused},
		{service.ErrForbidden, "FORBIDDEN", endpoints.AccessRefused},
		{service.ErrRateLimited, "RATE_LIMIT_EXCEEDED", endpoints.AccessRefused},
		{service.ErrUnavailable, "SERVICE_UNAVAILABLE", endpoints.ServerFailure},
		{errors.New("unforeseen"), "INTERNAL_ERROR", endpoints.ServerFailure},
	}

	for _, tt := range tests {
		code, class := OutcomeOf(tt.err)
		if code != tt.wantCode || class != tt.wantClass {
			t.Errorf("OutcomeOf(%v) = %s, %d, want %s, %d", tt.err, code, class, tt.wantCode, tt.wantClass)
		}
	}
}
