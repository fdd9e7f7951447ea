package transport

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"

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
