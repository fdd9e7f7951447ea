package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WatchMetrics are the metrics of watches.
type WatchMetrics struct {
	readers    prometheus.Gauge
	lagged     prometheus.Counter
	delivery   prometheus.Histogram
	reconnects prometheus.Counter
}

// RegisterWatches adds the metrics of watches.
func (m *Metrics) RegisterWatches() *WatchMetrics {
	w := &WatchMetrics{
		readers:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "gc_watchers", Help: "Watches that are open."}),
		lagged:     prometheus.NewCounter(prometheus.CounterOpts{Name: "gc_watch_lagged_total", Help: "Watches that began anew because they were read too slowly."}),
		delivery:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gc_watch_delivery_seconds", Help: "Time from a change of public state to its delivery to the watches here.", Buckets: fastBuckets}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{Name: "gc_watch_listener_reconnects_total", Help: "Times that the connection which hears of other replicas' changes was made anew."}),
	}
	m.registry.MustRegister(w.readers, w.lagged, w.delivery, w.reconnects)
	return w
}

// SetWatches is told how many watches there are.
func (w *WatchMetrics) SetWatches(readers int) { w.readers.Set(float64(readers)) }

// IncLagged is told of a watch that began anew.
func (w *WatchMetrics) IncLagged() { w.lagged.Inc() }

// ObserveDelivery is told how long after a change it was passed on.
func (w *WatchMetrics) ObserveDelivery(took time.Duration) { w.delivery.Observe(took.Seconds()) }

// IncReconnected is told that the listener has connected again.
func (w *WatchMetrics) IncReconnected() { w.reconnects.Inc() }
