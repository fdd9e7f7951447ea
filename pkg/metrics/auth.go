package metrics

import "github.com/prometheus/client_golang/prometheus"

// tokenMetrics are the metrics of tokens and their keys.
type tokenMetrics struct {
	validations *prometheus.CounterVec
	refreshes   *prometheus.CounterVec
}

func newTokenMetrics(r registry) tokenMetrics {
	return tokenMetrics{
		validations: r.initializedCounterVec("gc_jwt_validations_total",
			"Token validations by result.", "result", []string{"cached", "ok", "invalid", "unavailable", "canceled"}),
		refreshes: r.initializedCounterVec("gc_jwks_refresh_total",
			"Fetches of the auth controller's keys by result.", "result", []string{"ok", "error"}),
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
