package tracing

import (
	"context"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// forcedSpans are the spans under way whose caller asked for them to be recorded and has not been authenticated. Any client
// can send such a header, so whether a span is sent is decided at its end: without a valid token, the sampling ratio of local
// traces decides.
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

// remove reports whether the span was there.
func (f *forcedSpans) remove(id trace.SpanID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.spans[id]
	delete(f.spans, id)
	return ok
}

func (f *forcedSpans) has(id trace.SpanID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.spans[id]
	return ok
}

// watchForced remembers a span that its caller has forced, and returns a context that finds it again.
func (t *Tracing) watchForced(parent, ctx context.Context, span trace.Span) context.Context {
	if from := trace.SpanContextFromContext(parent); !from.IsRemote() || !from.IsSampled() || t.forced == nil {
		return ctx
	}
	t.forced.add(span.SpanContext().SpanID())
	return context.WithValue(ctx, forcedKey{}, span.SpanContext())
}

// forcedKey finds in the context of a call the span that its caller has forced.
type forcedKey struct{}

// isForced reports whether the call's span is one that its caller has forced without having been authenticated.
func (t *Tracing) isForced(ctx context.Context) bool {
	span, ok := ctx.Value(forcedKey{}).(trace.SpanContext)
	return ok && t.forced.has(span.SpanID())
}

// Authenticated returns what is to be called when the caller of a call has been authenticated, nil where tracing is switched
// off.
func (t *Tracing) Authenticated() func(ctx context.Context) {
	if t == nil {
		return nil
	}
	return func(ctx context.Context) {
		if span, ok := ctx.Value(forcedKey{}).(trace.SpanContext); ok {
			t.forced.remove(span.SpanID())
		}
	}
}

// unforcedSpans passes on ended spans, except those that only an unauthenticated caller forced.
type unforcedSpans struct {
	sdktrace.SpanProcessor
	forced *forcedSpans
	ratio  sdktrace.Sampler
}

// OnEnd implements [sdktrace.SpanProcessor].
func (p unforcedSpans) OnEnd(s sdktrace.ReadOnlySpan) {
	if p.forced.remove(s.SpanContext().SpanID()) {
		parameters := sdktrace.SamplingParameters{TraceID: s.SpanContext().TraceID()}
		if p.ratio.ShouldSample(parameters).Decision == sdktrace.Drop {
			return
		}
	}
	p.SpanProcessor.OnEnd(s)
}
