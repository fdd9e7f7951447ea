package endpoints

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

type traceKey struct{}

func TestLog_TraceIDOfTracedCall(t *testing.T) {
	var lines bytes.Buffer
	cfg := LogConfig{
		Logger:  log.NewLogfmtLogger(&lines),
		Outcome: otherOutcome,
		TraceID: func(ctx context.Context) string {
			id, _ := ctx.Value(traceKey{}).(string)
			return id
		},
	}
	next := func(context.Context, any) (any, error) { return nil, service.ErrNotRegistered }
	call := Log(cfg)(Operation{Name: "Drain"})(next)

	_, _ = call(t.Context(), nil)
	if got := lines.String(); got == "" || strings.Contains(got, "trace_id") {
		t.Errorf("the line of a call without a trace is %s, want one that names none", got)
	}

	lines.Reset()
	_, _ = call(context.WithValue(t.Context(), traceKey{}, "4bf9"), nil)
	if got := lines.String(); !strings.Contains(got, " trace_id=4bf9") {
		t.Errorf("the line of a call with a trace is %s, want one that names it", got)
	}
}

func TestAnnotateSpan_NamesOnlyValidIDs(t *testing.T) {
	var got []string
	m := AnnotateSpan(func(_ context.Context, operation, transport, controllerID string) {
		got = append(got, operation+" "+transport+" "+controllerID)
	})(Operation{Name: "FastHeartbeat"})

	nothing := func(context.Context, any) (any, error) { return nil, nil }
	ctx := WithCall(t.Context(), &Call{Transport: "grpc"})
	for _, id := range []string{"mc-1", "eyJ.not-an-id", ""} {
		_, _ = m(nothing)(ctx, Request[service.FastHeartbeat]{Value: service.FastHeartbeat{ControllerID: id}})
	}
	want := []string{"FastHeartbeat grpc mc-1", "FastHeartbeat grpc ", "FastHeartbeat grpc "}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("annotated %q, want %q: what is not an id may be a token", got, want)
	}
}
