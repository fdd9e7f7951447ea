// Package tracing tells an OpenTelemetry collector where the time of a call went. Nothing in it is global: the provider
// and the form in which a trace travels belong to one [Tracing]. No token, subject, SQL or text of an error ever becomes
// part of a span.
package tracing

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-kit/log"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// maxQueued bounds the spans that wait to be sent, about 1 KiB each; what comes when it is full is dropped.
	maxQueued = 8192
	// maxBatch is how many spans are sent at once.
	maxBatch = 1024
	// sendInterval is how long a span waits for others before it is sent.
	sendInterval = 2 * time.Second
	// sendBound is how long the collector may take to take a batch.
	sendBound = 5 * time.Second
	// flushBound is how long the spans that are left are sent at the server's stop.
	flushBound = 2 * time.Second

	scope = "darktower.example/global-controller"
)

// Config says where spans are sent and who sends them.
type Config struct {
	// Endpoint is the base address of a collector that takes OTLP over HTTP, to which /v1/traces is added; its user info
	// is sent as basic authentication. Empty: there is no tracing.
	Endpoint string
	// SampleRatio is the share of traces that are recorded of those that begin here, 0 to 1. For all others their caller
	// has decided, if it was authenticated.
	SampleRatio float64
	// Version, Instance and Region describe this server.
	Version, Instance, Region string
	Logger                    log.Logger
}

// Tracing makes the spans of one server. It is nil where tracing is switched off: every method then does nothing, and
// returns what it is given as it is.
type Tracing struct {
	provider   *sdktrace.TracerProvider
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	forced     *forcedSpans
	// end breaks off what is still being sent.
	end context.CancelFunc
	// connections are those to the collector.
	connections *http.Transport
}

// New begins to send spans to cfg.Endpoint, and returns nil when that is empty. It does not wait for the collector.
func New(cfg Config) (*Tracing, error) {
	if cfg.Endpoint == "" {
		return nil, nil //nolint:nilnil // See Tracing.
	}
	connections := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: sendBound, MaxIdleConnsPerHost: 1}
	to, err := newCollector(cfg.Endpoint, connections)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	next, err := otlptrace.New(context.Background(), to)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	life, end := context.WithCancel(context.Background())
	forced, ratio := newForcedSpans(), sdktrace.TraceIDRatioBased(cfg.SampleRatio)
	batches := sdktrace.NewBatchSpanProcessor(
		&exporter{next: next, logger: cfg.Logger, life: life},
		sdktrace.WithMaxQueueSize(maxQueued), sdktrace.WithMaxExportBatchSize(maxBatch),
		sdktrace.WithBatchTimeout(sendInterval), sdktrace.WithExportTimeout(sendBound),
	)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(ratio)),
		sdktrace.WithSpanProcessor(unforcedSpans{batches, forced, ratio}),
		sdktrace.WithoutPanicRecording(), // What was panicked with may be anything.
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "global-controller"), attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", cfg.Instance), attribute.String("cloud.region", cfg.Region),
		)),
	)
	return &Tracing{
		provider: provider, tracer: provider.Tracer(scope, trace.WithInstrumentationVersion(cfg.Version)),
		propagator: propagation.TraceContext{}, forced: forced, end: end, connections: connections,
	}, nil
}

// Close sends what is left, for 2 s at most, and waits until nothing runs in the background any more.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	late := time.AfterFunc(flushBound, t.end)
	defer late.Stop()
	_ = t.provider.Shutdown(context.Background()) // The exporter has told what could not be sent.
	t.end()
	t.connections.CloseIdleConnections()
}

// TraceID names the trace that a call belongs to, whether it is recorded or not; empty when there is none.
func (t *Tracing) TraceID(ctx context.Context) string {
	if t == nil {
		return ""
	}
	of := trace.SpanContextFromContext(ctx)
	if !of.IsValid() {
		of, _ = ctx.Value(streamKey{}).(trace.SpanContext)
	}
	if !of.IsValid() {
		return ""
	}
	return of.TraceID().String()
}

// Exemplar names the trace that a call is a part of when it is recorded, so that it is worth looking for; empty when
// not.
func (t *Tracing) Exemplar(ctx context.Context) string {
	if t == nil {
		return ""
	}
	of := trace.SpanContextFromContext(ctx)
	if !of.IsValid() || !of.IsSampled() || t.isForced(ctx) {
		return ""
	}
	return of.TraceID().String()
}

// Annotator returns what adds to the span of a call what the endpoints know of it, nil where tracing is switched off.
// controllerID may be empty.
func (t *Tracing) Annotator() func(ctx context.Context, operation, transport, controllerID string) {
	if t == nil {
		return nil
	}
	return annotate
}

func annotate(ctx context.Context, operation, transport, controllerID string) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("gc.operation", operation), attribute.String("gc.transport", transport))
	if controllerID != "" {
		span.SetAttributes(attribute.String("gc.controller_id", controllerID))
	}
}
