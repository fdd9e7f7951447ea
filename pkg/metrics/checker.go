package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"darktower.example/global-controller/service"
)

// checkerMetrics are the metrics of the health checker, of transitions and of the removal of old records.
type checkerMetrics struct {
	transitions *prometheus.CounterVec
	detection   prometheus.Histogram
	sweeps      *prometheus.CounterVec
	hold        prometheus.Gauge
	pruned      prometheus.Counter
}

func newCheckerMetrics(r registry, threshold, interval time.Duration) checkerMetrics {
	m := checkerMetrics{
		transitions: r.counterVec("gc_health_transitions_total", "Changes of controllers' public state or staleness.", "from", "to", "cause"),
		detection: r.histogram("gc_detection_seconds",
			"Time from a controller's last heartbeat until it was marked stale, in seconds.", detectionBuckets(threshold, interval)),
		sweeps: r.initializedCounterVec("gc_health_checker_runs_total",
			"Sweeps of the health checker by result; failed beats count as errors.", "result", []string{"idle", "swept", "hold", "error"}),
		hold:   r.gauge("gc_health_checker_hold", "1 while no controller is marked stale after an outage of the Global Controller."),
		pruned: r.counter("gc_history_pruned_total", "Transitions that were removed from the history because of their age."),
	}

	limit := r.gauge("gc_detection_promise_seconds",
		"Time within which a controller that stops must be marked stale, in seconds: the staleness threshold and one sweep interval.")
	limit.Set((threshold + interval).Seconds())

	// Shown as 0 at first, so that the first controller that is marked stale shows as an increase.
	for from, to := range stateAfterStale() {
		m.transitions.WithLabelValues(string(from), string(to), string(service.CauseStale))
	}
	return m
}

// stateAfterStale has the public state that follows when a controller of each state is marked stale.
func stateAfterStale() map[service.HealthStatus]service.HealthStatus {
	return map[service.HealthStatus]service.HealthStatus{
		service.HealthPending:   service.HealthUnhealthy,
		service.HealthHealthy:   service.HealthUnhealthy,
		service.HealthDegraded:  service.HealthUnhealthy,
		service.HealthUnhealthy: service.HealthUnhealthy,
		service.HealthDraining:  service.HealthDraining,
	}
}

// detectionBuckets returns bounds that are finest around the time within which a controller that stops must be marked
// stale. One bound is that time, whatever the threshold is, so that a query can count the late detections.
func detectionBuckets(threshold, interval time.Duration) []float64 {
	var buckets []float64
	for _, factor := range []float64{1. / 6, 1. / 3, 2. / 3, 5. / 6, 1, 2, 4, 10} {
		buckets = append(buckets, roundToMilliseconds(factor*threshold.Seconds()))
	}
	for _, factor := range []float64{.2, .4, .6, .8, 1, 1.2, 2} {
		buckets = append(buckets, roundToMilliseconds(threshold.Seconds()+factor*interval.Seconds()))
	}

	slices.Sort(buckets)
	return slices.Compact(buckets)
}

// roundToMilliseconds keeps the bounds readable.
func roundToMilliseconds(seconds float64) float64 {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).Seconds()
}

// ObserveTransition counts a transition, and records how long the detection of a stale controller took.
func (m *checkerMetrics) ObserveTransition(t service.Transition) {
	m.transitions.WithLabelValues(stateLabel(t.From), stateLabel(t.To), string(t.Cause)).Inc()
	if t.Cause == service.CauseStale {
		m.detection.Observe(t.Silence.Seconds())
	}
}

// stateLabel names the state of a controller; one that is not registered has none.
func stateLabel(h service.HealthStatus) string { return cmp.Or(string(h), "none") }

// ObserveBeatFailure counts a failed beat among the sweeps that failed: neither can mark a controller stale.
func (m *checkerMetrics) ObserveBeatFailure(error) { m.sweeps.WithLabelValues("error").Inc() }

// ObserveSweep records a sweep of the health checker and its transitions.
func (m *checkerMetrics) ObserveSweep(result service.SweepResult, err error) {
	if err != nil {
		m.sweeps.WithLabelValues("error").Inc()
		return
	}

	m.hold.Set(0)
	switch {
	case result.Hold:
		m.sweeps.WithLabelValues("hold").Inc()
		m.hold.Set(1)
	case result.Swept:
		m.sweeps.WithLabelValues("swept").Inc()
	default:
		m.sweeps.WithLabelValues("idle").Inc()
	}
	for _, t := range result.Transitions {
		m.ObserveTransition(t)
	}
}

// ObservePrune records a removal of old records. The store's metrics count a failed one.
func (m *checkerMetrics) ObservePrune(result service.RetentionResult, err error) {
	if err != nil {
		return
	}
	m.pruned.Add(float64(result.Pruned))
	for _, t := range result.Retired {
		m.ObserveTransition(t)
	}
}
