package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type queryKey struct{ operation, status string }

type queryChildren struct {
	count prometheus.Counter
	time  prometheus.Observer
}

// ObserveQuery is told of an operation of the store. The first of its kind makes the counter of failures as well, so that
// the first failure is seen as a rise.
func (m *Metrics) ObserveQuery(operation, status string, took time.Duration) {
	key := queryKey{operation, status}
	found, ok := m.asked.Load(key)
	if !ok {
		m.queries.WithLabelValues(operation, "error")
		found, _ = m.asked.LoadOrStore(key, &queryChildren{m.queries.WithLabelValues(operation, status), m.queryTime.WithLabelValues(operation)})
	}
	children := found.(*queryChildren) //nolint:forcetypeassert // The only type that is stored.
	children.count.Inc()
	children.time.Observe(took.Seconds())
}
