// Package metrics holds the Prometheus metrics of the Global Controller. They have a registry of their own. No label holds a
// controller, a subject or an address: the number of series depends on the number of regions, not on the number of controllers.
package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// fastBuckets are the bounds in seconds for calls and store operations.
var fastBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Metrics are the metrics of one server. Those that need more than [New] knows are added by the Register methods, each of
// which may be called once.
type Metrics struct {
	registry registry
	ready    *prometheus.GaugeVec
	callMetrics
	checkerMetrics
	fleetMetrics
	storeMetrics
	tokenMetrics
}

// New returns metrics of a server of that version. threshold is the staleness threshold and interval that of the sweeps: a
// controller that stops must be marked stale within their sum.
func New(version string, threshold, interval time.Duration) *Metrics {
	r := registry{prometheus.NewRegistry()}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registerBuildInfo(r, version)

	return &Metrics{
		registry: r,
		ready: r.gaugeVec("gc_ready",
			"1 if this readiness condition held at the last readiness check, 0 otherwise; as in /ready.",
			"check"),
		callMetrics:    newCallMetrics(r),
		checkerMetrics: newCheckerMetrics(r, threshold, interval),
		fleetMetrics:   newFleetMetrics(r),
		storeMetrics:   newStoreMetrics(r),
		tokenMetrics:   newTokenMetrics(r),
	}
}

func registerBuildInfo(r registry, version string) {
	build := register(r, prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "gc_build_info",
		Help:        "Always 1; the labels have the version of the server and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	}))
	build.Set(1)
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, EnableOpenMetrics: true})
}

// ObserveReadiness records the state of each readiness condition. healthy is the state of one that holds.
func (m *Metrics) ObserveReadiness(states map[string]string, healthy string) {
	for condition, state := range states {
		value := 0.0
		if state == healthy {
			value = 1
		}
		m.ready.WithLabelValues(condition).Set(value)
	}
}
