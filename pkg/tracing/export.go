package tracing

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	// complaintInterval is how often trouble with the collector is logged at most.
	complaintInterval = time.Minute
	// shownErrorBytes bounds what is logged of an error, which may quote an answer of the collector.
	shownErrorBytes = 200
)

// newClient returns what sends spans to the base address endpoint.
func newClient(endpoint string, through http.RoundTripper) (sdktrace.SpanExporter, error) {
	address, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("the endpoint is not a URL") // The error would quote it, which may hold a password.
	}
	options := []otlptracehttp.Option{
		// What could not be sent is lost: to try again would only have more wait behind it.
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}),
		otlptracehttp.WithHTTPClient(&http.Client{
			Transport: through, Timeout: sendBound,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
	}
	if address.User != nil {
		password, _ := address.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(address.User.Username() + ":" + password))
		options = append(options, otlptracehttp.WithHeaders(map[string]string{"Authorization": "Basic " + basic}))
		address.User = nil
	}
	options = append(options, otlptracehttp.WithEndpointURL(address.JoinPath("v1", "traces").String()))
	return otlptracehttp.New(context.Background(), options...)
}

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
	text := err.Error()
	if len(text) > shownErrorBytes {
		text = strings.ToValidUTF8(text[:shownErrorBytes], "") + "…"
	}
	_ = level.Warn(e.logger).Log("msg", "spans not taken by the collector", "lost", e.lost, "err", text)
	e.told, e.lost = time.Now(), 0
}

// Shutdown implements [sdktrace.SpanExporter].
func (e *exporter) Shutdown(ctx context.Context) error { return e.next.Shutdown(ctx) }
