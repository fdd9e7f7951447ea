package metrics

import "github.com/prometheus/client_golang/prometheus"

// SharedIDMetrics are the metrics of ids that two processes use without an incarnation.
type SharedIDMetrics struct{ heartbeats prometheus.Counter }

// RegisterSharedIDs adds the metrics of shared ids.
func (m *Metrics) RegisterSharedIDs() *SharedIDMetrics {
	s := &SharedIDMetrics{heartbeats: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gc_shared_id_heartbeats_total",
		Help: "Comprehensive heartbeats that showed two processes under one controller id, neither of which names an incarnation.",
	})}
	m.registry.MustRegister(s.heartbeats)
	return s
}

// IncHeartbeat counts a heartbeat that showed two processes.
func (s *SharedIDMetrics) IncHeartbeat() { s.heartbeats.Inc() }
