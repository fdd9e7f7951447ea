package tracing

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// ServerOptions has a gRPC server make a span of each call and of each stream, but for gRPC's own services: health and
// reflection. A stream may last for days and carry any number of calls, so those are not made a part of its span.
func (t *Tracing) ServerOptions() []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(t.unary), grpc.ChainStreamInterceptor(t.stream)}
}

func (t *Tracing) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	if isOwn(info.FullMethod) {
		return handler(ctx, request)
	}
	ctx, span := t.startGRPC(ctx, info.FullMethod)
	err = errPanicked // Unless handler returns.
	defer func() { endGRPC(span, err) }()
	return handler(ctx, request)
}

// streamKey finds in the context of a stream the trace that it belongs to.
type streamKey struct{}

func (t *Tracing) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	if isOwn(info.FullMethod) {
		return handler(srv, stream)
	}
	started, span := t.startGRPC(stream.Context(), info.FullMethod)
	err = errPanicked
	defer func() { endGRPC(span, err) }()
	ctx := context.WithValue(stream.Context(), streamKey{}, span.SpanContext())
	if forced := started.Value(forcedKey{}); forced != nil {
		ctx = context.WithValue(ctx, forcedKey{}, forced)
	}
	return handler(srv, tracedStream{stream, ctx})
}

// tracedStream is a stream whose context names its trace.
type tracedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC gives a stream's context this way.
}

// Context implements [grpc.ServerStream].
func (s tracedStream) Context() context.Context { return s.ctx }

// errPanicked is how a call ended that did not return. The transport recovers and reports the panic itself.
var errPanicked = status.Error(codes.Internal, "panic")

func isOwn(method string) bool { return strings.HasPrefix(method, "/grpc.") }

func (t *Tracing) startGRPC(ctx context.Context, method string) (context.Context, trace.Span) {
	name := strings.TrimPrefix(method, "/")
	parent := t.propagator.Extract(ctx, incoming{ctx})
	ctx, span := t.tracer.Start(
		parent, name,
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", name)),
	)
	return t.watchForced(parent, ctx, span), span
}

func endGRPC(span trace.Span, err error) {
	code := status.Code(err)
	span.SetAttributes(attribute.String("rpc.response.status_code", code.String()))
	switch code { // Those that are the server's fault, as OpenTelemetry has it.
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		span.SetStatus(otelcodes.Error, code.String())
	default:
	}
	span.End()
}

// incoming reads the headers of a call.
type incoming struct {
	ctx context.Context //nolint:containedctx // It lives as long as one lookup.
}

// Get implements propagation's TextMapCarrier.
func (i incoming) Get(key string) string {
	if values := metadata.ValueFromIncomingContext(i.ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set implements propagation's TextMapCarrier; nobody writes here.
func (incoming) Set(string, string) {}

// Keys implements propagation's TextMapCarrier; the trace context is looked up by its names.
func (incoming) Keys() []string { return nil }
