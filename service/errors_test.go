package service

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestIsDomainError_StorageFailuresExcluded(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{ErrNotRegistered, true},
		{ErrSuperseded, true},
		{ErrConflict, true},
		{ErrGone, true},
		{ErrForbidden, true},
		{&UnsafeError{}, true},
		{Invalid("region: invalid"), true},
		{nil, false},
		{ErrUnavailable, false},
		{&ConditionError{Name: "disk_full", Err: ErrUnavailable}, false},
		{context.Canceled, false},
		{context.DeadlineExceeded, false},
		{errors.New("other"), false},
	}

	for _, tc := range tests {
		if got := IsDomainError(tc.err); got != tc.want {
			t.Errorf("IsDomainError(%v) = %t, want %t", tc.err, got, tc.want)
		}
		if tc.err == nil {
			continue
		}
		if wrapped := fmt.Errorf("store: %w", tc.err); IsDomainError(wrapped) != tc.want {
			t.Errorf("IsDomainError(%q) = %t, want %t", wrapped, !tc.want, tc.want)
		}
	}
}
