package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// serverFailureCodes are the codes that are never the caller's fault.
var serverFailureCodes = []string{"Internal", "Unavailable", "DeadlineExceeded"}

// callMetrics are the metrics of calls over gRPC and HTTP.
type callMetrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	limited   *prometheus.CounterVec
	panics    *prometheus.CounterVec
	series    *sync.Map // of callKey to *callSeries
}

type callKey struct{ transport, endpoint, code string }

// callSeries are the series of one callKey.
type callSeries struct {
	count    prometheus.Counter
	duration prometheus.Observer
}

func newCallMetrics(r registry) callMetrics {
	return callMetrics{
		requests:  r.counterVec("gc_requests_total", "Calls by transport, endpoint and result code.", "transport", "endpoint", "code"),
		durations: r.histogramVec("gc_request_duration_seconds", "Duration of calls in seconds.", fastBuckets, "transport", "endpoint"),
		limited:   r.counterVec("gc_rate_limited_total", "Calls that were refused by a rate limit.", "endpoint"),
		panics:    r.initializedCounterVec("gc_panics_total", "Panics that were caught while a call was served.", "transport", transports),
		series:    &sync.Map{},
	}
}

// ObserveCall records a call that ended. It looks the series of each combination of labels up once: there are few of them, and
// a lookup by labels costs more than the count. traceID names the trace that recorded the call, empty for none; OpenMetrics
// shows one for each bucket.
func (m *callMetrics) ObserveCall(transport, endpoint, code string, took time.Duration, traceID string) {
	key := callKey{transport, endpoint, code}
	found, ok := m.series.Load(key)
	if !ok {
		found, _ = m.series.LoadOrStore(key, m.newSeries(key))
	}
	series := found.(*callSeries) //nolint:forcetypeassert // The only type that is stored.

	series.count.Inc()
	if traced, ok := series.duration.(prometheus.ExemplarObserver); ok && traceID != "" {
		traced.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": traceID})
		return
	}
	series.duration.Observe(took.Seconds())
}

// newSeries returns the series of a combination of labels. It also creates the endpoint's counters of server-side failures
// with the value 0, so that the first failure shows as an increase.
func (m *callMetrics) newSeries(key callKey) *callSeries {
	for _, code := range serverFailureCodes {
		m.requests.WithLabelValues(key.transport, key.endpoint, code)
	}
	return &callSeries{
		count:    m.requests.WithLabelValues(key.transport, key.endpoint, key.code),
		duration: m.durations.WithLabelValues(key.transport, key.endpoint),
	}
}

// IncRateLimited counts a call that was refused by a rate limit.
func (m *callMetrics) IncRateLimited(operation string) { m.limited.WithLabelValues(operation).Inc() }

// InitOperations creates the counters of refused calls of these endpoints with the value 0.
func (m *callMetrics) InitOperations(names []string) {
	for _, name := range names {
		m.limited.WithLabelValues(name)
	}
}

// IncPanic counts a panic that was caught.
func (m *callMetrics) IncPanic(transport string) { m.panics.WithLabelValues(transport).Inc() }
