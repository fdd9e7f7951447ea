package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// RegisterClock adds the offsets of this host's clock. offsets returns how far it is ahead of each known reference clock.
func (m *Metrics) RegisterClock(offsets func() map[string]time.Duration) {
	m.registry.MustRegister(&clockCollector{
		offsets: offsets,
		desc: prometheus.NewDesc(
			"gc_clock_offset_seconds",
			"How far this host's clock is ahead of a reference clock that was read recently, in seconds.",
			[]string{"reference"},
			nil,
		),
	})
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
