package metrics

import (
	"time"

	kitmetrics "github.com/go-kit/kit/metrics"
	"github.com/prometheus/client_golang/prometheus"
)

type callKey struct{ transport, endpoint, code string }

type callChildren struct {
	count kitmetrics.Counter
	time  histogram
}

// ownFailures are the codes that are never the caller's fault.
var ownFailures = []string{"Internal", "Unavailable", "DeadlineExceeded"}

// ObserveCall is told of a call that ended. The children of each combination are looked up once: there are few of them, and
// looking one up by its labels costs more than counting. The first call of an endpoint makes the counters of our own
// failures as well, so that the first failure is seen as a rise. traceID names the trace that recorded the call, empty
// for none; one of each bucket's is shown in OpenMetrics.
func (m *Metrics) ObserveCall(transport, endpoint, code string, took time.Duration, traceID string) {
	key := callKey{transport, endpoint, code}
	found, ok := m.resolved.Load(key)
	if !ok {
		for _, ours := range ownFailures {
			m.requests.WithLabelValues(transport, endpoint, ours)
		}
		found, _ = m.resolved.LoadOrStore(key, &callChildren{
			count: counter{m.requests, nil}.With("transport", transport, "endpoint", endpoint, "code", code),
			time:  histogram{m.durations, m.durations.WithLabelValues(transport, endpoint)},
		})
	}
	children := found.(*callChildren) //nolint:forcetypeassert // The only type that is stored.
	children.count.Add(1)
	if traced, ok := children.time.child.(prometheus.ExemplarObserver); ok && traceID != "" {
		traced.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": traceID})
		return
	}
	children.time.Observe(took.Seconds())
}

// counter is go-kit's counter over one resolved child. go-kit's own adapter builds a map of labels for each count.
type counter struct {
	vector *prometheus.CounterVec
	child  prometheus.Counter
}

// With implements go-kit's Counter; it takes all the labels at once.
func (c counter) With(labelValues ...string) kitmetrics.Counter {
	return counter{c.vector, c.vector.With(labels(labelValues))}
}

// Add implements go-kit's Counter.
func (c counter) Add(delta float64) { c.child.Add(delta) }

type histogram struct {
	vector *prometheus.HistogramVec
	child  prometheus.Observer
}

// With implements go-kit's Histogram; it takes all the labels at once.
func (h histogram) With(labelValues ...string) kitmetrics.Histogram {
	return histogram{h.vector, h.vector.With(labels(labelValues))}
}

// Observe implements go-kit's Histogram.
func (h histogram) Observe(value float64) { h.child.Observe(value) }

func labels(pairs []string) prometheus.Labels {
	l := make(prometheus.Labels, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		l[pairs[i]] = pairs[i+1]
	}
	return l
}
