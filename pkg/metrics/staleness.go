package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"darktower.example/global-controller/service"
)

// staleControllers is a gauge by region, zero-filled. A stale controller that drains is counted here and nowhere else: its
// public state stays draining.
var staleControllers = prometheus.NewDesc("gc_stale_controllers",
	"Controllers that have been silent for longer than the staleness threshold, whatever their public state is.", []string{"region"}, nil)

func collectStale(metrics chan<- prometheus.Metric, region string, r service.Region) {
	metrics <- prometheus.MustNewConstMetric(staleControllers, prometheus.GaugeValue, float64(r.Stale), region)
}

// stalenessFrom are the states from which a controller can go stale.
func stalenessFrom() map[service.HealthStatus]service.HealthStatus {
	return map[service.HealthStatus]service.HealthStatus{
		service.HealthPending:   service.HealthUnhealthy,
		service.HealthHealthy:   service.HealthUnhealthy,
		service.HealthDegraded:  service.HealthUnhealthy,
		service.HealthUnhealthy: service.HealthUnhealthy,
		service.HealthDraining:  service.HealthDraining,
	}
}
