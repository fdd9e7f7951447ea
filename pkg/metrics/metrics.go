// Package metrics holds what the service tells Prometheus. Everything is registered with a registry of its own, no
// label ever holds a controller, a subject or an address, and nothing grows with the fleet but by region.
package metrics

import (
	"cmp"
	"context"
	"database/sql"
	"net/http"
	"runtime"
	"sync"
	"time"

	kitmetrics "github.com/go-kit/kit/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"darktower.example/global-controller/service"
)

// Metrics is the whole of them.
type Metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	transitions *prometheus.CounterVec
	detection   prometheus.Histogram
	commit      prometheus.Histogram
	batch       prometheus.Histogram
	checkerRuns *prometheus.CounterVec
	hold        prometheus.Gauge
	queries     *prometheus.CounterVec
	queryTime   *prometheus.HistogramVec
	validations *prometheus.CounterVec
	refreshes   *prometheus.CounterVec
	limited     *prometheus.CounterVec
	superseded  prometheus.Counter
	pruned      prometheus.Counter
	panics      *prometheus.CounterVec
	ready       *prometheus.GaugeVec
	resolved    sync.Map // of callKey to *callChildren
	asked       sync.Map // of queryKey to *queryChildren
}

var (
	fastBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	_           = kitmetrics.Counter(counter{})
	_           = kitmetrics.Histogram(histogram{})
)

// New returns metrics that know the version they speak for, and by when a controller that has fallen silent has to be
// found: after the threshold and one interval of the checker.
func New(version string, threshold, interval time.Duration) *Metrics {
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		requests:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gc_requests_total", Help: "Calls, by how they ended."}, []string{"transport", "endpoint", "code"}),
		durations:   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "gc_request_duration_seconds", Help: "Time that calls took.", Buckets: fastBuckets}, []string{"transport", "endpoint"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gc_health_transitions_total", Help: "Changes of controllers' public state."}, []string{"from", "to", "cause"}),
		detection:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gc_detection_seconds", Help: "Time from a controller's last heartbeat to unhealthy.", Buckets: detectionBuckets(threshold, interval)}),
		commit:      prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gc_heartbeat_commit_seconds", Help: "Time that commits of heartbeats took.", Buckets: fastBuckets}),
		batch:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gc_heartbeat_batch_size", Help: "Heartbeats that shared a commit.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}}),
		checkerRuns: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gc_health_checker_runs_total", Help: "Ticks of the health checker."}, []string{"result"}),
		hold:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "gc_health_checker_hold", Help: "1 while an outage of our own is waited out."}),
		queries:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gc_db_queries_total", Help: "Operations of the store."}, []string{"operation", "status"}),
		queryTime:   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "gc_db_query_duration_seconds", Help: "Time that operations of the store took.", Buckets: fastBuckets}, []string{"operation"}),
		validations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gc_jwt_validations_total", Help: "Tokens that were verified or refused."}, []string{"result"}),
		refreshes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gc_jwks_refresh_total", Help: "Fetches of the auth controller's keys."}, []string{"result"}),
		limited:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gc_rate_limited_total", Help: "Calls that were refused for their rate."}, []string{"endpoint"}),
		superseded:  prometheus.NewCounter(prometheus.CounterOpts{Name: "gc_incarnation_conflicts_total", Help: "Calls of processes that another has taken the place of under the same id."}),
		pruned:      prometheus.NewCounter(prometheus.CounterOpts{Name: "gc_history_pruned_total", Help: "Changes of controllers' states that were removed because they were old."}),
		panics:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gc_panics_total", Help: "Panics that were caught."}, []string{"transport"}),
		ready:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gc_ready", Help: "1 where the last look at what the service needs found it well, as /ready shows."}, []string{"check"}),
	}
	// What has not happened yet is shown as 0, so that its first time is seen as a rise.
	for counter, results := range map[*prometheus.CounterVec][]string{
		m.checkerRuns: {"idle", "swept", "hold", "error"}, m.validations: {"cached", "ok", "invalid", "unavailable", "canceled"}, m.refreshes: {"ok", "error"},
		m.panics: {"grpc", "http"},
	} {
		for _, result := range results {
			counter.WithLabelValues(result)
		}
	}
	for from, to := range stalenessFrom() {
		m.transitions.WithLabelValues(string(from), string(to), string(service.CauseStale))
	}
	promise := prometheus.NewGauge(prometheus.GaugeOpts{Name: "gc_detection_promise_seconds", Help: "Within what time a controller that has fallen silent has to be found: the threshold and one interval of the checker."})
	promise.Set((threshold + interval).Seconds())
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "gc_build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(
		m.requests, m.durations, m.transitions, m.detection, m.commit, m.batch, m.checkerRuns, m.hold, m.queries, m.queryTime, m.validations,
		m.refreshes, m.limited, m.superseded, m.pruned, m.panics, m.ready, promise, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler serves the metrics in the formats of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, EnableOpenMetrics: true})
}

// RegisterPool adds the statistics of a database pool.
func (m *Metrics) RegisterPool(stats func() sql.DBStats) {
	gauge := func(name, help string, value func(sql.DBStats) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(stats()) }))
	}
	count := func(name, help string, value func(sql.DBStats) float64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return value(stats()) }))
	}
	gauge("gc_db_pool_max_connections", "Connections that the pool may hold.", func(s sql.DBStats) float64 { return float64(s.MaxOpenConnections) })
	gauge("gc_db_pool_open_connections", "Connections that the pool holds.", func(s sql.DBStats) float64 { return float64(s.OpenConnections) })
	gauge("gc_db_pool_in_use_connections", "Connections at work.", func(s sql.DBStats) float64 { return float64(s.InUse) })
	count("gc_db_pool_waits_total", "Waits for a connection.", func(s sql.DBStats) float64 { return float64(s.WaitCount) })
	count("gc_db_pool_wait_seconds_total", "Time that was waited for connections.", func(s sql.DBStats) float64 { return s.WaitDuration.Seconds() })
}

// ObserveBatch is told of a commit of heartbeats.
func (m *Metrics) ObserveBatch(heartbeats int, took time.Duration) {
	m.commit.Observe(took.Seconds())
	m.batch.Observe(float64(heartbeats))
}

// ObserveTransition is told of a change of a controller's public state.
func (m *Metrics) ObserveTransition(t service.Transition) {
	m.transitions.WithLabelValues(orNone(t.From), orNone(t.To), string(t.Cause)).Inc()
	if t.Cause == service.CauseStale {
		m.detection.Observe(t.Silence.Seconds())
	}
}

// orNone names the state of a controller that is not there.
func orNone(h service.HealthStatus) string { return cmp.Or(string(h), "none") }

// ObserveSuperseded is told of a call of a process that another has taken the place of.
func (m *Metrics) ObserveSuperseded() { m.superseded.Inc() }

// ObserveSweep is told of a tick of the health checker.
func (m *Metrics) ObserveSweep(result service.SweepResult, err error) {
	switch {
	case err != nil:
		m.checkerRuns.WithLabelValues("error").Inc()
		return
	case result.Hold:
		m.checkerRuns.WithLabelValues("hold").Inc()
	case result.Swept:
		m.checkerRuns.WithLabelValues("swept").Inc()
	default:
		m.checkerRuns.WithLabelValues("idle").Inc()
	}
	m.hold.Set(0)
	if result.Hold {
		m.hold.Set(1)
	}
	for _, t := range result.Transitions {
		m.ObserveTransition(t)
	}
}

// ObservePrune is told of a pass of the removal of old records.
func (m *Metrics) ObservePrune(result service.RetentionResult, err error) {
	if err != nil {
		return // The store has counted that.
	}
	m.pruned.Add(float64(result.Pruned))
	for _, t := range result.Retired {
		m.ObserveTransition(t)
	}
}

// ObserveTokenValidation is told of a token's verification.
func (m *Metrics) ObserveTokenValidation(result string) { m.validations.WithLabelValues(result).Inc() }

// ObserveKeyRefresh is told of a fetch of keys.
func (m *Metrics) ObserveKeyRefresh(result string) { m.refreshes.WithLabelValues(result).Inc() }

// IncRateLimited is told of a call that was refused for its rate.
func (m *Metrics) IncRateLimited(operation string) { m.limited.WithLabelValues(operation).Inc() }

// InitOperations names the endpoints, so that those which refuse nobody are shown as 0.
func (m *Metrics) InitOperations(names []string) {
	for _, name := range names {
		m.limited.WithLabelValues(name)
	}
}

// RegisterKeyCount adds how many of the auth controller's keys are held.
func (m *Metrics) RegisterKeyCount(count func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gc_jwks_keys", Help: "Usable keys of the auth controller that are held."}, func() float64 { return float64(count()) }))
}

// ObserveReadiness is told what a look at everything that the service needs found.
func (m *Metrics) ObserveReadiness(state map[string]string, well string) {
	for check, found := range state {
		value := 0.0
		if found == well {
			value = 1
		}
		m.ready.WithLabelValues(check).Set(value)
	}
}

// IncPanic is told of a panic that was caught.
func (m *Metrics) IncPanic(transport string) { m.panics.WithLabelValues(transport).Inc() }

// RegisterFleet adds gauges of the fleet, read from the store when Prometheus asks. region is this service's own, which is
// shown even while it has no controller.
func (m *Metrics) RegisterFleet(store service.RegionReader, region string) {
	m.registry.MustRegister(&fleet{
		store: store, region: region,
		controllers: prometheus.NewDesc("gc_registered_controllers", "Registered controllers.", []string{"region", "status"}, nil),
		meetings:    prometheus.NewDesc("gc_capacity_meetings", "Meetings: of all controllers the most there may be (max) and those there are (current); the most that those may hold which serve (serving) and that the largest of them may (largest); those that run on controllers which are not stale (running).", []string{"region", "kind"}, nil),
	})
}

const (
	// scrapeTimeout bounds the question that a scrape asks the store.
	scrapeTimeout = 3 * time.Second
	// summaryAge is how old an answer of the store may be. Anybody may scrape, and as often as they like; the store is
	// asked four times a second at the most.
	summaryAge = 250 * time.Millisecond
)

type fleet struct {
	store                 service.RegionReader
	region                string
	controllers, meetings *prometheus.Desc

	mu      sync.Mutex // Held while the store is asked, so that scrapes at the same time share an answer.
	asked   time.Time
	summary []service.Region
	err     error
}

// ask returns the store's answer, or that of a moment ago.
func (f *fleet) ask() ([]service.Region, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.asked) > summaryAge {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
		defer cancel()
		f.summary, f.err = f.store.Regions(ctx)
		f.asked = time.Now()
	}
	return f.summary, f.err
}

// Describe implements [prometheus.Collector].
func (f *fleet) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- f.controllers
	descriptions <- f.meetings
	descriptions <- staleControllers
}

// Collect implements [prometheus.Collector]. While the store does not answer the fleet is left out: a zero would say
// that there is none.
func (f *fleet) Collect(metrics chan<- prometheus.Metric) {
	summary, err := f.ask()
	if err != nil {
		return
	}
	regions := map[string]service.Region{f.region: {}}
	for _, r := range summary {
		regions[r.Region] = r
	}
	for name, r := range regions {
		collectStale(metrics, name, r)
		for _, state := range service.HealthStatuses() {
			metrics <- prometheus.MustNewConstMetric(f.controllers, prometheus.GaugeValue, float64(r.Controllers[state]), name, string(state))
		}
		for kind, meetings := range map[string]int64{
			"max": r.Meetings.Limits, "current": r.Meetings.Load, "serving": r.Meetings.Max, "running": r.Meetings.Current, "largest": r.Meetings.Largest,
		} {
			metrics <- prometheus.MustNewConstMetric(f.meetings, prometheus.GaugeValue, float64(meetings), name, kind)
		}
	}
}
