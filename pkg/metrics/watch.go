package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WatchMetrics are the metrics of watches.
type WatchMetrics struct {
	watches    prometheus.Gauge
	lagged     prometheus.Counter
	delivery   prometheus.Histogram
	reconnects prometheus.Counter
}

// RegisterWatches adds the metrics of watches.
func (m *Metrics) RegisterWatches() *WatchMetrics {
	r := m.registry
	return &WatchMetrics{
		watches: r.gauge("gc_watchers", "Open watches."),
		lagged:  r.counter("gc_watch_lagged_total", "Watches that restarted with a snapshot because their client reads too slowly."),
		delivery: r.histogram("gc_watch_delivery_seconds",
			"Time from a transition until it is in this server's published view, in seconds.", fastBuckets),
		reconnects: r.counter("gc_watch_listener_reconnects_total",
			"Reconnects of the connection that listens for other replicas' changes."),
	}
}

// SetWatches sets the number of open watches.
func (w *WatchMetrics) SetWatches(watches int) { w.watches.Set(float64(watches)) }

// IncLagged counts a watch that restarted with a snapshot.
func (w *WatchMetrics) IncLagged() { w.lagged.Inc() }

// ObserveDelivery records the time from a transition until it is in the published view.
func (w *WatchMetrics) ObserveDelivery(took time.Duration) { w.delivery.Observe(took.Seconds()) }

// IncReconnected counts a reconnect of the listener.
func (w *WatchMetrics) IncReconnected() { w.reconnects.Inc() }
