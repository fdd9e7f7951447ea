package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// AuthMetrics has the metrics of refused callers.
type AuthMetrics struct {
	unknown    *prometheus.CounterVec
	handshakes *prometheus.CounterVec
}

// RegisterAuth registers the metrics of refused callers. offsets returns by how many seconds this host's clock is ahead of each
// known reference clock, and droppedKeyCallers how many controllers use tokens whose key is no longer published.
func (m *Metrics) RegisterAuth(offsets func() map[string]time.Duration, droppedKeyCallers func() int) *AuthMetrics {
	j := &AuthMetrics{
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gc_unknown_calls_total", Help: "Calls to services, methods and paths that are not served.",
		}, []string{"transport"}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gc_tls_handshake_failures_total", Help: "Connections whose TLS handshake failed.",
		}, []string{"transport"}),
	}

	for _, transport := range []string{"grpc", "http"} {
		j.unknown.WithLabelValues(transport)
		j.handshakes.WithLabelValues(transport)
	}

	m.registry.MustRegister(j.unknown, j.handshakes,
		&clocks{
			offsets: offsets,
			desc: prometheus.NewDesc(
				"gc_clock_offset_seconds",
				"By how much this host's clock is ahead of a reference clock that was read recently.",
				[]string{"reference"},
				nil,
			),
		},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gc_dropped_key_callers",
			Help: "Controllers that were refused within the last 5 minutes because the key of their tokens is no longer published.",
		}, func() float64 { return float64(droppedKeyCallers()) }),
	)

	return j
}

// IncUnknownCall counts a call to a service, method or path that is not served.
func (j *AuthMetrics) IncUnknownCall(transport string) { j.unknown.WithLabelValues(transport).Inc() }

// IncHandshakeFailure counts a TLS handshake that failed.
func (j *AuthMetrics) IncHandshakeFailure(transport string) {
	j.handshakes.WithLabelValues(transport).Inc()
}

type clocks struct {
	offsets func() map[string]time.Duration
	desc    *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (c *clocks) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- c.desc }

// Collect implements [prometheus.Collector]. An unknown clock is left out.
func (c *clocks) Collect(metrics chan<- prometheus.Metric) {
	for reference, offset := range c.offsets() {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, offset.Seconds(), reference)
	}
}
