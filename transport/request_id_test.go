package transport

import (
	"strings"
	"testing"
)

func TestRequestID_Valid(t *testing.T) {
	if got := RequestID([]string{"req-1"}); got != "req-1" {
		t.Errorf("RequestID(req-1) = %q, want req-1", got)
	}
}

func TestRequestID_MissingOrInvalid(t *testing.T) {
	for _, received := range [][]string{nil, {""}, {"a b"}, {strings.Repeat("a", 129)}, {"req-1", "req-2"}} {
		got := RequestID(received)
		if len(got) != 36 || len(received) == 1 && got == received[0] {
			t.Errorf("RequestID(%q) = %q, want a new one", received, got)
		}
	}
}
