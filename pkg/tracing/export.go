package tracing

import (
	"context"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// failureLogInterval is the shortest time between two log lines about failures of the collector.
const failureLogInterval = time.Minute

// exporter logs failures of the collector and returns nil: the SDK would report each of them to its global error handler.
type exporter struct {
	next   sdktrace.SpanExporter
	logger log.Logger
	// ctx ends when the time for the last flush is over.
	ctx context.Context //nolint:containedctx // It belongs to the server, not to a call.

	mu         sync.Mutex
	lastLogged time.Time // Zero: never.
	lostSpans  int       // Since lastLogged.
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()

	if err := e.next.ExportSpans(ctx, spans); err != nil {
		e.logFailure(err, len(spans))
	}
	return nil
}

func (e *exporter) logFailure(err error, lostSpans int) {
	e.mu.Lock()
	defer e.mu.Unlock()

	e.lostSpans += lostSpans
	if !e.lastLogged.IsZero() && time.Since(e.lastLogged) < failureLogInterval {
		return
	}
	_ = level.Warn(e.logger).Log("msg", "spans not taken by the collector", "lost", e.lostSpans, "err", err)
	e.lastLogged = time.Now()
	e.lostSpans = 0
}

// Shutdown implements [sdktrace.SpanExporter].
func (e *exporter) Shutdown(ctx context.Context) error { return e.next.Shutdown(ctx) }
