package operatorcli

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestDescribeError_UnknownOutcome(t *testing.T) {
	t.Parallel()
	const hint = "the outcome is unknown: check with gcctl fleet show mc-1"

	for name, tc := range map[string]struct {
		isChange bool
		err      error
		wantHint bool
	}{
		"a change without a response": {true, status.Error(codes.DeadlineExceeded, "context deadline exceeded"), true},
		"a change that was not sent":  {true, status.Error(codes.Unavailable, "connection error: desc = refused"), false},
		"a read without a response":   {false, status.Error(codes.DeadlineExceeded, "context deadline exceeded"), false},
	} {
		err := call{controllerID: "mc-1", isChange: tc.isChange}.describeError(t.Context(), tc.err)
		if ExitCodeOf(err) != ExitUnavailable || strings.Contains(err.Error(), hint) != tc.wantHint {
			t.Errorf("%s: %v, want exit code %d, and the hint: %v", name, err, ExitUnavailable, tc.wantHint)
		}
	}
}
