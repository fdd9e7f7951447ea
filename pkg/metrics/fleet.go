package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"darktower.example/global-controller/service"
)

const (
	// scrapeTimeout limits the store query of a scrape.
	scrapeTimeout = 3 * time.Second
	// regionsMaxAge is how old the summary of the fleet may be. /metrics needs no token, so its number of scrapes is not
	// limited; the store is queried at most four times a second.
	regionsMaxAge = 250 * time.Millisecond
)

// fleetMetrics are the metrics of conflicts between processes of one controller.
type fleetMetrics struct{ superseded prometheus.Counter }

func newFleetMetrics(r registry) fleetMetrics {
	return fleetMetrics{
		superseded: r.counter("gc_incarnation_conflicts_total",
			"Calls of processes that another process with the same controller id has replaced."),
	}
}

// ObserveSuperseded counts a call of a process that another process with the same controller id has replaced.
func (m *fleetMetrics) ObserveSuperseded() { m.superseded.Inc() }

// SharedIDMetrics are the metrics of ids that two processes use without an incarnation.
type SharedIDMetrics struct{ heartbeats prometheus.Counter }

// RegisterSharedIDs adds the metrics of shared ids.
func (m *Metrics) RegisterSharedIDs() *SharedIDMetrics {
	return &SharedIDMetrics{heartbeats: m.registry.counter("gc_shared_id_heartbeats_total",
		"Comprehensive heartbeats that showed two processes with one controller id, neither of which names an incarnation.")}
}

// IncHeartbeat counts a heartbeat that showed two processes.
func (s *SharedIDMetrics) IncHeartbeat() { s.heartbeats.Inc() }

// RegisterFleet adds gauges of the fleet, which are read from the store during a scrape. region is that of this server, which
// is shown even if it has no controller.
func (m *Metrics) RegisterFleet(store service.RegionReader, region string) {
	m.registry.MustRegister(&fleetCollector{
		store:  store,
		region: region,
		controllers: prometheus.NewDesc("gc_registered_controllers",
			"Registered controllers by public state.", []string{"region", "status"}, nil),
		meetings: prometheus.NewDesc("gc_capacity_meetings",
			"Meeting capacity by kind: max and current over all controllers; serving and largest over serving controllers (healthy or degraded); "+
				"running over controllers that are not stale.", []string{"region", "kind"}, nil),
		// A stale controller that drains keeps its public state, so no other gauge shows that it is stale.
		stale: prometheus.NewDesc("gc_stale_controllers",
			"Controllers without a heartbeat for longer than the staleness threshold, whatever their public state is.", []string{"region"}, nil),
	})
}

// fleetCollector collects the gauges of the fleet.
type fleetCollector struct {
	store                        service.RegionReader
	region                       string
	controllers, meetings, stale *prometheus.Desc

	mu      sync.Mutex // Held during the store query, so that concurrent scrapes share its result.
	readAt  time.Time
	regions []service.Region
	err     error
}

// readRegions returns the summary of the fleet, at most regionsMaxAge old.
func (f *fleetCollector) readRegions() ([]service.Region, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	if time.Since(f.readAt) > regionsMaxAge {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
		defer cancel()
		f.regions, f.err = f.store.Regions(ctx)
		f.readAt = time.Now()
	}
	return f.regions, f.err
}

// Describe implements [prometheus.Collector].
func (f *fleetCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- f.controllers
	descriptions <- f.meetings
	descriptions <- f.stale
}

// Collect implements [prometheus.Collector]. If the store query fails, the fleet is left out: a zero would mean that there
// are no controllers.
func (f *fleetCollector) Collect(metrics chan<- prometheus.Metric) {
	found, err := f.readRegions()
	if err != nil {
		return
	}
	regions := map[string]service.Region{f.region: {}}
	for _, r := range found {
		regions[r.Region] = r
	}

	for name, r := range regions {
		gauge := func(desc *prometheus.Desc, value int64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), append([]string{name}, labels...)...)
		}

		gauge(f.stale, r.Stale)
		for _, state := range service.HealthStatuses() {
			gauge(f.controllers, r.Controllers[state], string(state))
		}
		// These kinds max and current are totals of all controllers. In the API, the max of a region is the serving limit, and its current
		// the running load.
		gauge(f.meetings, r.Meetings.TotalLimit, "max")
		gauge(f.meetings, r.Meetings.TotalLoad, "current")
		gauge(f.meetings, r.Meetings.ServingLimit, "serving")
		gauge(f.meetings, r.Meetings.RunningLoad, "running")
		gauge(f.meetings, r.Meetings.LargestServing, "largest")
	}
}
