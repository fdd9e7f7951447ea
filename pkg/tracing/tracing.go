// Package tracing sends the spans of calls to an OpenTelemetry collector. It has no global state: the provider and the
// propagator belong to one [Tracing]. No token, subject, SQL or text of an error becomes part of a span.
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
	// maxQueued limits the spans that wait to be sent, about 1 KiB each. When the queue is full, new spans are dropped.
	maxQueued = 8192
	// maxBatch is how many spans are sent at once.
	maxBatch = 1024
	// sendInterval is how long a span waits for others before it is sent.
	sendInterval = 2 * time.Second
	// sendTimeout limits the time in which the collector accepts a batch.
	sendTimeout = 5 * time.Second
	// flushTimeout limits the time in which the remaining spans are sent when the server stops.
	flushTimeout = 2 * time.Second

	scope = "darktower.example/global-controller"
)

// Config configures where spans are sent, and which server they describe.
type Config struct {
	// Endpoint is the base address of a collector that accepts OTLP over HTTP, to which /v1/traces is added. Its user info
	// is sent as basic authentication. Empty: tracing is off.
	Endpoint string
	// SampleRatio is the fraction of locally started traces to record, 0 to 1. A trace from an authenticated caller keeps the
	// caller's sampling decision.
	SampleRatio float64
	// Version, Instance and Region describe this server.
	Version, Instance, Region string
	Logger                    log.Logger
}

// Tracing makes the spans of one server. It is nil if tracing is off: every method then does nothing and returns its
// argument.
type Tracing struct {
	provider   *sdktrace.TracerProvider
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	forced     *forcedSpans
	// cancelSending cancels the requests to the collector that are under way.
	cancelSending context.CancelFunc
	// collectorTransport has the connections to the collector.
	collectorTransport *http.Transport
}

// New returns the tracing that sends spans to cfg.Endpoint, or nil if that is empty. It does not wait for the collector.
func New(cfg Config) (*Tracing, error) {
	if cfg.Endpoint == "" {
		return nil, nil //nolint:nilnil // See Tracing.
	}

	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: sendTimeout,
		MaxIdleConnsPerHost: 1,
	}

	client, err := newCollectorClient(cfg.Endpoint, transport)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}
	otlpExporter, err := otlptrace.New(context.Background(), client)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	batches := sdktrace.NewBatchSpanProcessor(
		&exporter{next: otlpExporter, logger: cfg.Logger, ctx: ctx},
		sdktrace.WithMaxQueueSize(maxQueued),
		sdktrace.WithMaxExportBatchSize(maxBatch),
		sdktrace.WithBatchTimeout(sendInterval),
		sdktrace.WithExportTimeout(sendTimeout),
	)
	forced := newForcedSpans()
	sampler := sdktrace.TraceIDRatioBased(cfg.SampleRatio)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sampler)),
		sdktrace.WithSpanProcessor(unforcedSpans{SpanProcessor: batches, forced: forced, sampler: sampler}),
		sdktrace.WithoutPanicRecording(), // The value of a panic may contain anything.
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "global-controller"),
			attribute.String("service.version", cfg.Version),
			attribute.String("service.instance.id", cfg.Instance),
			attribute.String("cloud.region", cfg.Region),
		)),
	)

	return &Tracing{
		provider:           provider,
		tracer:             provider.Tracer(scope, trace.WithInstrumentationVersion(cfg.Version)),
		propagator:         propagation.TraceContext{},
		forced:             forced,
		cancelSending:      cancel,
		collectorTransport: transport,
	}, nil
}

// Close sends the remaining spans, for at most 2 s, and waits until none of its goroutines runs any more.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	timer := time.AfterFunc(flushTimeout, t.cancelSending)
	defer timer.Stop()
	_ = t.provider.Shutdown(context.Background()) // The exporter logs what it could not send.
	t.cancelSending()
	t.collectorTransport.CloseIdleConnections()
}

// TraceID returns the id of the trace that a call belongs to, whether it is recorded or not; empty if there is none.
func (t *Tracing) TraceID(ctx context.Context) string {
	if t == nil {
		return ""
	}
	spanContext := trace.SpanContextFromContext(ctx)
	if !spanContext.IsValid() {
		spanContext, _ = ctx.Value(streamKey{}).(trace.SpanContext)
	}
	if !spanContext.IsValid() {
		return ""
	}
	return spanContext.TraceID().String()
}

// Exemplar returns the id of the trace that a call belongs to. It is empty if the trace is not recorded, because the collector
// then does not have it.
func (t *Tracing) Exemplar(ctx context.Context) string {
	if t == nil {
		return ""
	}
	spanContext := trace.SpanContextFromContext(ctx)
	if !spanContext.IsValid() || !spanContext.IsSampled() || t.isForced(ctx) {
		return ""
	}
	return spanContext.TraceID().String()
}

// Annotator returns a function that adds the attributes of a call to its span, or nil if tracing is off. controllerID may be
// empty.
func (t *Tracing) Annotator() func(ctx context.Context, operation, transport, controllerID string) {
	if t == nil {
		return nil
	}
	return annotateSpan
}

func annotateSpan(ctx context.Context, operation, transport, controllerID string) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("gc.operation", operation), attribute.String("gc.transport", transport))
	if controllerID != "" {
		span.SetAttributes(attribute.String("gc.controller_id", controllerID))
	}
}
