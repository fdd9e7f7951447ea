package tracing

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// WrapRoute returns a handler that records a span for each request. The span is named by its method and the route's pattern,
// because a path contains ids.
func (t *Tracing) WrapRoute(method, pattern string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}

	attributes := trace.WithAttributes(
		attribute.String("http.request.method", method),
		attribute.String("http.route", pattern),
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parent := t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(parent, method+" "+pattern, trace.WithSpanKind(trace.SpanKindServer), attributes)
		ctx = t.trackForced(parent, ctx, span)

		recorder := &statusRecorder{ResponseWriter: w}
		hasReturned := false
		defer func() {
			if !hasReturned { // The handler panicked. The transport recovers and responds with 500.
				recorder.status = http.StatusInternalServerError
			}
			endHTTPSpan(span, recorder.status, http.StatusInternalServerError)
		}()
		next.ServeHTTP(recorder, r.WithContext(ctx))
		hasReturned = true
	})
}

// endHTTPSpan ends a span with the status of the response; 0 is 200. Statuses from firstError on are errors.
func endHTTPSpan(span trace.Span, status, firstError int) {
	if status == 0 {
		status = http.StatusOK
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= firstError {
		span.SetStatus(otelcodes.Error, "")
	}
	span.End()
}

// statusRecorder records the status of a response; 0 if the handler sets none.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (r *statusRecorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Flush implements [http.Flusher], for which handlers check the type.
func (r *statusRecorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Unwrap gives [http.ResponseController] access to the other methods of the connection.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// ClientTransport returns a transport that records a span with that name for each request and sends the trace with it. If
// tracing is off it returns nil, which is the default transport of net/http.
func (t *Tracing) ClientTransport(spanName string) http.RoundTripper {
	if t == nil {
		return nil
	}
	return clientTransport{tracing: t, spanName: spanName}
}

type clientTransport struct {
	tracing  *Tracing
	spanName string
}

// RoundTrip implements [http.RoundTripper]. The span has only the host of the address: the rest may contain a secret.
func (c clientTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := c.tracing.tracer.Start(
		r.Context(), c.spanName,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname())),
	)
	r = r.Clone(ctx)
	c.tracing.propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))

	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		span.SetStatus(otelcodes.Error, "no response")
		span.End()
		return nil, err
	}
	endHTTPSpan(span, response.StatusCode, http.StatusBadRequest)
	return response, nil
}
