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

// ServerOptions returns options that make a gRPC server record a span for each call and each stream. The services of gRPC, health
// and reflection, get no spans. A stream may last for days and carry any number of calls, so the spans of those are not
// part of the stream's span.
func (t *Tracing) ServerOptions() []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(t.interceptUnary),
		grpc.ChainStreamInterceptor(t.interceptStream),
	}
}

func (t *Tracing) interceptUnary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (response any, err error) {
	if isGRPCService(info.FullMethod) {
		return handler(ctx, request)
	}
	ctx, span := t.startGRPCSpan(ctx, info.FullMethod)
	err = errPanicked // Overwritten if handler returns.
	defer func() { endGRPCSpan(span, err) }()
	return handler(ctx, request)
}

// streamKey is the context key of the trace that a stream belongs to.
type streamKey struct{}

func (t *Tracing) interceptStream(
	srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) (err error) {
	if isGRPCService(info.FullMethod) {
		return handler(srv, stream)
	}
	spanCtx, span := t.startGRPCSpan(stream.Context(), info.FullMethod)
	err = errPanicked // Overwritten if handler returns.
	defer func() { endGRPCSpan(span, err) }()

	ctx := context.WithValue(stream.Context(), streamKey{}, span.SpanContext())
	if forced := spanCtx.Value(forcedKey{}); forced != nil {
		ctx = context.WithValue(ctx, forcedKey{}, forced)
	}
	return handler(srv, tracedStream{stream, ctx})
}

// tracedStream is a stream whose context has its trace.
type tracedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC gives a stream's context this way.
}

// Context implements [grpc.ServerStream].
func (s tracedStream) Context() context.Context { return s.ctx }

// errPanicked is the result of a call that panicked. The transport recovers and reports the panic itself.
var errPanicked = status.Error(codes.Internal, "panicked")

// isGRPCService reports whether the method belongs to one of gRPC's own services.
func isGRPCService(method string) bool { return strings.HasPrefix(method, "/grpc.") }

func (t *Tracing) startGRPCSpan(ctx context.Context, method string) (context.Context, trace.Span) {
	name := strings.TrimPrefix(method, "/")
	parent := t.propagator.Extract(ctx, incomingHeaders{ctx})
	ctx, span := t.tracer.Start(
		parent, name,
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", name)),
	)
	return t.trackForced(parent, ctx, span), span
}

func endGRPCSpan(span trace.Span, err error) {
	code := status.Code(err)
	span.SetAttributes(attribute.String("rpc.response.status_code", code.String()))
	switch code { // The codes that OpenTelemetry defines as errors of the server.
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		span.SetStatus(otelcodes.Error, code.String())
	default:
	}
	span.End()
}

// incomingHeaders reads the headers of a call.
type incomingHeaders struct {
	ctx context.Context //nolint:containedctx // It lives as long as one lookup.
}

// Get implements propagation's TextMapCarrier.
func (h incomingHeaders) Get(key string) string {
	if values := metadata.ValueFromIncomingContext(h.ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Set implements propagation's TextMapCarrier; it is not called.
func (incomingHeaders) Set(string, string) {}

// Keys implements propagation's TextMapCarrier; the trace context is looked up by its names.
func (incomingHeaders) Keys() []string { return nil }
