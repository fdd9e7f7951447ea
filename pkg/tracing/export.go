package tracing

import (
	"context"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// complaintInterval is how often trouble with the collector is logged at most.
const complaintInterval = time.Minute

// exporter keeps the trouble of the collector to itself: the SDK would tell its global error handler of each batch.
type exporter struct {
	next   sdktrace.SpanExporter
	logger log.Logger
	// life ends what is still being sent after the last flush.
	life context.Context //nolint:containedctx // It is no call's context but the server's own life.

	mu   sync.Mutex
	told time.Time // When trouble was logged last.
	lost int       // Spans since then.
}

// ExportSpans implements [sdktrace.SpanExporter].
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	if err := e.next.ExportSpans(ctx, spans); err != nil {
		e.complain(err, len(spans))
	}
	return nil
}

func (e *exporter) complain(err error, lost int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += lost
	if !e.told.IsZero() && time.Since(e.told) < complaintInterval {
		return
	}
	_ = level.Warn(e.logger).Log("msg", "spans not taken by the collector", "lost", e.lost, "err", err)
	e.told, e.lost = time.Now(), 0
}

// Shutdown implements [sdktrace.SpanExporter].
func (e *exporter) Shutdown(ctx context.Context) error { return e.next.Shutdown(ctx) }
