package metrics

import "github.com/prometheus/client_golang/prometheus"

// transports are the values of the label of that name for calls and connections.
var transports = []string{"grpc", "http"}

// RefusalMetrics are the metrics of refused calls and connections.
type RefusalMetrics struct {
	unknownCalls      *prometheus.CounterVec
	handshakeFailures *prometheus.CounterVec
}

// RegisterRefusals adds the metrics of refused calls and connections. droppedKeyCallers returns how many controllers use tokens
// whose key is no longer published.
func (m *Metrics) RegisterRefusals(droppedKeyCallers func() int) *RefusalMetrics {
	r := m.registry
	r.gaugeFunc("gc_dropped_key_callers",
		"Controllers that were refused within the last 5 minutes because the key of their tokens is no longer published.",
		func() float64 { return float64(droppedKeyCallers()) })

	return &RefusalMetrics{
		unknownCalls: r.initializedCounterVec("gc_unknown_calls_total",
			"Calls to services, methods and paths that are not served.", "transport", transports),
		handshakeFailures: r.initializedCounterVec("gc_tls_handshake_failures_total",
			"Connections whose TLS handshake failed.", "transport", transports),
	}
}

// IncUnknownCall counts a call to a service, method or path that is not served.
func (m *RefusalMetrics) IncUnknownCall(transport string) {
	m.unknownCalls.WithLabelValues(transport).Inc()
}

// IncHandshakeFailure counts a TLS handshake that failed.
func (m *RefusalMetrics) IncHandshakeFailure(transport string) {
	m.handshakeFailures.WithLabelValues(transport).Inc()
}
