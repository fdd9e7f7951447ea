package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Watches are the metrics of watches.
type Watches struct {
	readers    prometheus.Gauge
	lagged     prometheus.Counter
	delivery   prometheus.Histogram
	reconnects prometheus.Counter
}

// Watches adds the metrics of watches.
func (m *Metrics) Watches() *Watches {
	w := &Watches{
		readers:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "gc_watchers", Help: "Watches that are open."}),
		lagged:     prometheus.NewCounter(prometheus.CounterOpts{Name: "gc_watch_lagged_total", Help: "Watches that began anew because they were read too slowly."}),
		delivery:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gc_watch_delivery_seconds", Help: "Time from a change of public state to its delivery to the watches here.", Buckets: fastBuckets}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{Name: "gc_watch_listener_reconnects_total", Help: "Times that the connection which hears of other replicas' changes was made anew."}),
	}
	m.registry.MustRegister(w.readers, w.lagged, w.delivery, w.reconnects)
	return w
}

// Watching is told how many watches there are.
func (w *Watches) Watching(readers int) { w.readers.Set(float64(readers)) }

// Lagged is told of a watch that began anew.
func (w *Watches) Lagged() { w.lagged.Inc() }

// Delivered is told how long after a change it was passed on.
func (w *Watches) Delivered(took time.Duration) { w.delivery.Observe(took.Seconds()) }

// Reconnected is told that the listener has connected again.
func (w *Watches) Reconnected() { w.reconnects.Inc() }
