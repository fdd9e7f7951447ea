package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// transports are the values of the label of that name for calls and connections.
var transports = []string{"grpc", "http"}

// tokenMetrics are the metrics of tokens and their keys.
type tokenMetrics struct {
	validations *prometheus.CounterVec
	refreshes   *prometheus.CounterVec
}

func newTokenMetrics(r registry) tokenMetrics {
	return tokenMetrics{
		validations: r.initializedCounterVec("gc_jwt_validations_total",
			"Token validations by result.", "result", "cached", "ok", "invalid", "unavailable", "canceled"),
		refreshes: r.initializedCounterVec("gc_jwks_refresh_total",
			"Fetches of the auth controller's keys by result.", "result", "ok", "error"),
	}
}

// ObserveTokenValidation counts a token's validation.
func (m *tokenMetrics) ObserveTokenValidation(result string) {
	m.validations.WithLabelValues(result).Inc()
}

// ObserveKeyRefresh counts a fetch of keys.
func (m *tokenMetrics) ObserveKeyRefresh(result string) { m.refreshes.WithLabelValues(result).Inc() }

// RegisterKeyCount adds the number of the auth controller's keys that the server holds.
func (m *Metrics) RegisterKeyCount(count func() int) {
	m.registry.gaugeFunc("gc_jwks_keys", "Usable keys of the auth controller.", func() float64 { return float64(count()) })
}

// AuthMetrics are the metrics of refused callers.
type AuthMetrics struct {
	unknownCalls      *prometheus.CounterVec
	handshakeFailures *prometheus.CounterVec
}

// RegisterAuth adds the metrics of refused callers. offsets returns how far this host's clock is ahead of each known reference
// clock. droppedKeyCallers returns how many controllers use tokens whose key is no longer published.
func (m *Metrics) RegisterAuth(offsets func() map[string]time.Duration, droppedKeyCallers func() int) *AuthMetrics {
	r := m.registry
	r.MustRegister(&clockCollector{
		offsets: offsets,
		desc: prometheus.NewDesc(
			"gc_clock_offset_seconds",
			"How far this host's clock is ahead of a reference clock that was read recently, in seconds.",
			[]string{"reference"},
			nil,
		),
	})
	r.gaugeFunc("gc_dropped_key_callers",
		"Controllers that were refused within the last 5 minutes because the key of their tokens is no longer published.",
		func() float64 { return float64(droppedKeyCallers()) })

	return &AuthMetrics{
		unknownCalls: r.initializedCounterVec("gc_unknown_calls_total",
			"Calls to services, methods and paths that are not served.", "transport", transports...),
		handshakeFailures: r.initializedCounterVec("gc_tls_handshake_failures_total",
			"Connections whose TLS handshake failed.", "transport", transports...),
	}
}

// IncUnknownCall counts a call to a service, method or path that is not served.
func (a *AuthMetrics) IncUnknownCall(transport string) {
	a.unknownCalls.WithLabelValues(transport).Inc()
}

// IncHandshakeFailure counts a TLS handshake that failed.
func (a *AuthMetrics) IncHandshakeFailure(transport string) {
	a.handshakeFailures.WithLabelValues(transport).Inc()
}

// clockCollector collects the offsets of this host's clock.
type clockCollector struct {
	offsets func() map[string]time.Duration
	desc    *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (c *clockCollector) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- c.desc }

// Collect implements [prometheus.Collector]. A reference clock whose time is unknown is left out.
func (c *clockCollector) Collect(metrics chan<- prometheus.Metric) {
	for reference, offset := range c.offsets() {
		metrics <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, offset.Seconds(), reference)
	}
}
