package tracing

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Route has a handler make a span of each request, named by its method and the route's pattern: a path has ids in it.
func (t *Tracing) Route(method, pattern string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	attributes := trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("http.route", pattern))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parent := t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(parent, method+" "+pattern, trace.WithSpanKind(trace.SpanKindServer), attributes)
		ctx = t.watchForced(parent, ctx, span)
		seen := &answer{ResponseWriter: w}
		returned := false
		defer func() {
			if !returned { // It panicked, which the transport recovers and answers.
				seen.status = http.StatusInternalServerError
			}
			endHTTP(span, seen.status, http.StatusInternalServerError)
		}()
		next.ServeHTTP(seen, r.WithContext(ctx))
		returned = true
	})
}

// endHTTP ends a span with the status of an answer, which is an error from bad on.
func endHTTP(span trace.Span, status, bad int) {
	if status == 0 {
		status = http.StatusOK
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= bad {
		span.SetStatus(otelcodes.Error, "")
	}
	span.End()
}

// answer remembers the status of an answer, 0 for one that was written without.
type answer struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Flush implements [http.Flusher], which handlers ask for by its type.
func (a *answer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

// Unwrap lets [http.ResponseController] find what else the connection can do.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Outgoing has requests make spans of that name and carry their trace to who answers them. It returns nil, which stands
// for net/http's own way, where tracing is switched off.
func (t *Tracing) Outgoing(name string) http.RoundTripper {
	if t == nil {
		return nil
	}
	return outgoing{t, name}
}

type outgoing struct {
	tracing *Tracing
	name    string
}

// RoundTrip implements [http.RoundTripper]. The address is left out but for the host: the rest may hold a secret.
func (o outgoing) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := o.tracing.tracer.Start(
		r.Context(), o.name, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname())),
	)
	r = r.Clone(ctx)
	o.tracing.propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		span.SetStatus(otelcodes.Error, "no answer")
		span.End()
		return nil, err
	}
	endHTTP(span, response.StatusCode, http.StatusBadRequest)
	return response, nil
}
