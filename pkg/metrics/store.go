package metrics

import (
	"database/sql"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// storeMetrics are the metrics of the store.
type storeMetrics struct {
	queries    *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	commits    prometheus.Histogram
	batchSizes prometheus.Histogram
	series     *sync.Map // of queryKey to *querySeries
}

type queryKey struct{ operation, status string }

// querySeries are the series of one queryKey.
type querySeries struct {
	count    prometheus.Counter
	duration prometheus.Observer
}

func newStoreMetrics(r registry) storeMetrics {
	return storeMetrics{
		queries:   r.counterVec("gc_db_queries_total", "Store operations by result.", "operation", "status"),
		durations: r.histogramVec("gc_db_query_duration_seconds", "Duration of store operations in seconds.", fastBuckets, "operation"),
		commits:   r.histogram("gc_heartbeat_commit_seconds", "Duration of heartbeat commits in seconds.", fastBuckets),
		batchSizes: r.histogram("gc_heartbeat_batch_size", "Heartbeats in one commit.",
			[]float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}),
		series: &sync.Map{},
	}
}

// ObserveQuery records a store operation. The first one of a kind also creates its counter of failures with the value 0, so
// that the first failure shows as an increase.
func (m *storeMetrics) ObserveQuery(operation, status string, took time.Duration) {
	key := queryKey{operation, status}
	found, ok := m.series.Load(key)
	if !ok {
		m.queries.WithLabelValues(operation, "error")
		found, _ = m.series.LoadOrStore(key, &querySeries{
			count:    m.queries.WithLabelValues(operation, status),
			duration: m.durations.WithLabelValues(operation),
		})
	}
	series := found.(*querySeries) //nolint:forcetypeassert // The only type that is stored.

	series.count.Inc()
	series.duration.Observe(took.Seconds())
}

// ObserveBatch records a commit of heartbeats.
func (m *storeMetrics) ObserveBatch(heartbeats int, took time.Duration) {
	m.commits.Observe(took.Seconds())
	m.batchSizes.Observe(float64(heartbeats))
}

// RegisterPool adds the statistics of a connection pool.
func (m *Metrics) RegisterPool(stats func() sql.DBStats) {
	r := m.registry
	r.gaugeFunc("gc_db_pool_max_connections", "Connections that the pool may open.",
		func() float64 { return float64(stats().MaxOpenConnections) })
	r.gaugeFunc("gc_db_pool_open_connections", "Connections that are open.",
		func() float64 { return float64(stats().OpenConnections) })
	r.gaugeFunc("gc_db_pool_in_use_connections", "Connections that are in use.",
		func() float64 { return float64(stats().InUse) })
	r.counterFunc("gc_db_pool_waits_total", "Waits for a connection.",
		func() float64 { return float64(stats().WaitCount) })
	r.counterFunc("gc_db_pool_wait_seconds_total", "Total time of waits for a connection, in seconds.",
		func() float64 { return stats().WaitDuration.Seconds() })
}
