package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func TestAnInterruptIsNoBrokenPromise(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cause string
		want  int
	}{{"interrupt signal received", 130}, {"terminated signal received", 143}, {"hangup signal received", 129}, {"something else", 130}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New(tc.cause))
		var out, errs bytes.Buffer
		code := execute(ctx, []string{"simulate", "steady"}, &out, &errs)
		if code != tc.want || errs.String() != "gcctl: interrupted before the end of steady\n" || out.String() != "" {
			t.Errorf("gcctl simulate after %q = %d %q\n%s\nwant %d, and the word interrupted once", tc.cause, code, errs.String(), out.String(), tc.want)
		}
	}
}
