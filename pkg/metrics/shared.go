package metrics

import "github.com/prometheus/client_golang/prometheus"

// Shared are the metrics of ids that two processes use without an incarnation.
type Shared struct{ heartbeats prometheus.Counter }

// Shared adds the metrics of shared ids.
func (m *Metrics) Shared() *Shared {
	s := &Shared{heartbeats: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gc_shared_id_heartbeats_total",
		Help: "Comprehensive heartbeats that showed two processes under one controller id, neither of which names an incarnation.",
	})}
	m.registry.MustRegister(s.heartbeats)
	return s
}

// Found counts a heartbeat that showed two processes.
func (s *Shared) Found() { s.heartbeats.Inc() }
