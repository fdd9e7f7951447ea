package tracing

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/go-kit/log"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/service"
)

// newRecordedTracing returns tracing whose spans a recorder keeps.
func newRecordedTracing(t *testing.T) (*Tracing, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithoutPanicRecording())
	return &Tracing{provider: provider, tracer: provider.Tracer(scope), propagator: propagation.TraceContext{}}, recorder
}

// callUnary calls a handler through the interceptor of unary calls.
func callUnary(t *testing.T, traces *Tracing, method string, handler grpc.UnaryHandler) (any, error) {
	t.Helper()
	return traces.interceptUnary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: method}, handler)
}

func attributesOf(span sdktrace.ReadOnlySpan) map[string]string {
	found := make(map[string]string)
	for _, a := range span.Attributes() {
		found[string(a.Key)] = a.Value.String()
	}
	return found
}

type emptyStore struct{ service.Store }

// TestTracing_OffCostsNothing: every heartbeat calls the methods of Tracing, even if it is off.
func TestTracing_OffCostsNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	off, err := New(Config{})
	if off != nil || err != nil {
		t.Fatalf("New() = %v, %v, want neither", off, err)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, want %d as before", after, before)
	}

	var store service.Store = emptyStore{}
	if got := off.WrapStore(store); got != store {
		t.Errorf("WrapStore() = %T, want the store itself", got)
	}

	handler := http.NewServeMux()
	if got := off.WrapRoute("GET", "/", handler); got != http.Handler(handler) {
		t.Errorf("WrapRoute() = %T, want the handler itself", got)
	}
	if len(off.ServerOptions()) != 0 || off.ClientTransport("x") != nil || off.Annotator() != nil {
		t.Error("there are options, a transport or an annotator, want none")
	}

	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	if got := testing.AllocsPerRun(1000, func() {
		if off.Exemplar(ctx) != "" || off.TraceID(ctx) != "" {
			t.Error("there is a trace, want none")
		}
	}); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}

	off.Close()
	// A process with a compressor announces it in every call.
	if encoding.GetCompressor("gzip") != nil {
		t.Error("an imported package registers a compressor with gRPC")
	}
}

func TestInterceptUnary_Status(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err    error
		code   string
		status otelcodes.Code
	}{
		{nil, "OK", otelcodes.Unset},
		{status.Error(codes.NotFound, "hunter2"), "NotFound", otelcodes.Unset},
		{status.Error(codes.Unavailable, "hunter2"), "Unavailable", otelcodes.Error},
		{errors.New("hunter2"), "Unknown", otelcodes.Error},
	} {
		traces, recorder := newRecordedTracing(t)
		_, err := callUnary(t, traces, "/s/M", func(context.Context, any) (any, error) { return nil, tc.err })
		if !errors.Is(err, tc.err) {
			t.Errorf("interceptUnary() = %v, want %v", err, tc.err)
		}

		span := recorder.Ended()[0]
		if got := attributesOf(span)["rpc.response.status_code"]; got != tc.code || span.Status().Code != tc.status {
			t.Errorf("%v: code %s, status %v, want %s, %v", tc.err, got, span.Status(), tc.code, tc.status)
		}
		if span.Status().Description == "hunter2" {
			t.Error("the status has the text of the error")
		}
	}
}

func TestTracing_Panic(t *testing.T) {
	t.Parallel()
	traces, recorder := newRecordedTracing(t)
	for name, call := range map[string]func(){
		"s/M": func() {
			_, _ = callUnary(t, traces, "/s/M", func(context.Context, any) (any, error) { panic("hunter2") })
		},
		"GET /x/{id}": func() {
			traces.WrapRoute("GET", "/x/{id}", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("hunter2") })).
				ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x/7", nil))
		},
	} {
		cause := func() (cause any) {
			defer func() { cause = recover() }()
			call()
			return nil
		}()

		ended := recorder.Ended()
		span := ended[len(ended)-1]
		if cause != "hunter2" || span.Name() != name || span.Status().Code != otelcodes.Error || len(span.Events()) > 0 {
			t.Errorf("%s: panic %v; span %s with status %v and events %v, want the same panic, an error and no events",
				name, cause, span.Name(), span.Status(), span.Events())
		}
	}
}

func TestWrapRoute_KeepsConnectionMethods(t *testing.T) {
	t.Parallel()
	traces, recorder := newRecordedTracing(t)
	w := httptest.NewRecorder()
	traces.WrapRoute("GET", "/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusInternalServerError) // Too late to have an effect.
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if got := attributesOf(recorder.Ended()[0])["http.response.status_code"]; got != "418" || w.Code != 418 || !w.Flushed {
		t.Errorf("span status %s, response %d, flushed %v, want 418, 418, true", got, w.Code, w.Flushed)
	}
}

func TestTracing_GRPCServicesHaveNoSpans(t *testing.T) {
	t.Parallel()
	traces, recorder := newRecordedTracing(t)
	for _, method := range []string{"/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		if _, err := callUnary(t, traces, method, func(context.Context, any) (any, error) { return nil, nil }); err != nil {
			t.Errorf("interceptUnary() = %v", err)
		}
		info := &grpc.StreamServerInfo{FullMethod: method}
		if err := traces.interceptStream(nil, nil, info, func(any, grpc.ServerStream) error { return nil }); err != nil {
			t.Errorf("interceptStream() = %v", err)
		}
	}
	if got := len(recorder.Ended()); got != 0 {
		t.Errorf("%d spans, want none", got)
	}
}

// contextOnlyStream is a stream of which only the context is used.
type contextOnlyStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s contextOnlyStream) Context() context.Context { return s.ctx }

func TestInterceptStream_CallsAreNotPartOfTheSpan(t *testing.T) {
	t.Parallel()
	traces, recorder := newRecordedTracing(t)
	info := &grpc.StreamServerInfo{FullMethod: "/s/Stream"}
	err := traces.interceptStream(nil, contextOnlyStream{ctx: t.Context()}, info, func(_ any, stream grpc.ServerStream) error {
		ctx := stream.Context()
		if traces.TraceID(ctx) == "" || traces.Exemplar(ctx) != "" || trace.SpanFromContext(ctx).IsRecording() {
			t.Errorf("trace %q, exemplar %q, want a trace for the log, and no span to which a heartbeat adds",
				traces.TraceID(ctx), traces.Exemplar(ctx))
		}
		_, _ = traces.WrapStore(emptyStore{}).IsRegistered(context.WithValue(ctx, knownKey{}, true), "mc")
		return nil
	})
	if spans := recorder.Ended(); err != nil || len(spans) != 1 || spans[0].Name() != "s/Stream" {
		t.Errorf("interceptStream() = %v with %d spans, want only the span of the stream", err, len(spans))
	}
}

type knownKey struct{}

func (emptyStore) IsRegistered(context.Context, string) (bool, error) { return true, nil }

func TestTracing_NoTrace(t *testing.T) {
	t.Parallel()
	traces, err := New(Config{Endpoint: "http://127.0.0.1:1", SampleRatio: 0, Logger: log.NewNopLogger()})
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	defer traces.Close()
	if traces.TraceID(t.Context()) != "" || traces.Exemplar(t.Context()) != "" {
		t.Error("a call without a trace has a trace id or an exemplar")
	}

	_, err = callUnary(t, traces, "/s/M", func(ctx context.Context, _ any) (any, error) {
		if got := traces.Exemplar(ctx); got != "" {
			t.Errorf("Exemplar() = %s, want none for a trace that is not recorded", got)
		}
		return nil, nil
	})
	if err != nil {
		t.Errorf("interceptUnary() = %v", err)
	}
}
