package tracing

import (
	"context"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// forcedSpans has the spans under way whose caller requested their recording and is not yet authenticated. Any client can send
// such a header, so whether a span is sent is decided at its end. Without a valid token, the sampling ratio of local traces
// decides.
type forcedSpans struct {
	mu    sync.Mutex
	spans map[trace.SpanID]struct{}
}

func newForcedSpans() *forcedSpans { return &forcedSpans{spans: make(map[trace.SpanID]struct{})} }

func (f *forcedSpans) add(id trace.SpanID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spans[id] = struct{}{}
}

// remove reports whether the set contained the span.
func (f *forcedSpans) remove(id trace.SpanID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.spans[id]
	delete(f.spans, id)
	return ok
}

func (f *forcedSpans) contains(id trace.SpanID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.spans[id]
	return ok
}

// trackForced records a span whose caller forced it, and returns a context that refers to it.
func (t *Tracing) trackForced(parent, ctx context.Context, span trace.Span) context.Context {
	parentSpan := trace.SpanContextFromContext(parent)
	if !parentSpan.IsRemote() || !parentSpan.IsSampled() || t.forced == nil {
		return ctx
	}
	t.forced.add(span.SpanContext().SpanID())
	return context.WithValue(ctx, forcedKey{}, span.SpanContext())
}

// forcedKey is the context key of the span that the caller of a call forced.
type forcedKey struct{}

// isForced reports whether the call's span was forced by a caller that is not authenticated.
func (t *Tracing) isForced(ctx context.Context) bool {
	span, ok := ctx.Value(forcedKey{}).(trace.SpanContext)
	return ok && t.forced.contains(span.SpanID())
}

// AuthenticationHook returns a function to call after the caller of a call has been authenticated, or nil if tracing is off.
func (t *Tracing) AuthenticationHook() func(ctx context.Context) {
	if t == nil {
		return nil
	}
	return func(ctx context.Context) {
		if span, ok := ctx.Value(forcedKey{}).(trace.SpanContext); ok {
			t.forced.remove(span.SpanID())
		}
	}
}

// unforcedSpans passes on ended spans, except those that an unauthenticated caller forced and the sampler drops.
type unforcedSpans struct {
	sdktrace.SpanProcessor
	forced  *forcedSpans
	sampler sdktrace.Sampler
}

// OnEnd implements [sdktrace.SpanProcessor].
func (p unforcedSpans) OnEnd(s sdktrace.ReadOnlySpan) {
	if p.forced.remove(s.SpanContext().SpanID()) {
		parameters := sdktrace.SamplingParameters{TraceID: s.SpanContext().TraceID()}
		if p.sampler.ShouldSample(parameters).Decision == sdktrace.Drop {
			return
		}
	}
	p.SpanProcessor.OnEnd(s)
}
