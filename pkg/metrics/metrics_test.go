package metrics

import (
	"context"
	"database/sql"
	"errors"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"darktower.example/global-controller/service"
)

// metricName matches the name of one of the server's own metrics in its description.
var metricName = regexp.MustCompile(`\bgc_\w+`)

type fakeRegions struct {
	rows []service.Region
	err  error
}

func (f *fakeRegions) Regions(context.Context) ([]service.Region, error) { return f.rows, f.err }

func scrape(m *Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestMetrics_Page(t *testing.T) {
	synctest.Test(t, testPage)
}

// testPage records events of every kind and reads the page.
func testPage(t *testing.T) {
	m := New("1.2.3", 30*time.Second, 5*time.Second)
	store := &fakeRegions{rows: []service.Region{{
		Region:      "eu",
		Controllers: map[service.HealthStatus]int64{service.HealthHealthy: 2},
		Stale:       4,
		Meetings:    service.RegionCapacity{ServingLimit: 18, RunningLoad: 2, LargestServing: 9, TotalLimit: 20, TotalLoad: 3},
	}}}

	m.RegisterFleet(store, "us")
	m.RegisterPool(func() sql.DBStats {
		return sql.DBStats{MaxOpenConnections: 20, OpenConnections: 7, InUse: 5, WaitCount: 3, WaitDuration: 2 * time.Second}
	})
	for range 2 {
		m.ObserveCall("grpc", "FastHeartbeat", "OK", time.Millisecond, "")
	}

	m.ObserveQuery("heartbeat", "ok", time.Millisecond)
	m.ObserveBatch(7, time.Millisecond)

	m.ObserveTransition(service.Transition{To: service.HealthPending, Cause: service.CauseRegister})
	m.ObserveSweep(service.SweepResult{Hold: true}, nil)
	m.ObserveSweep(service.SweepResult{}, errors.New("down"))
	m.ObserveBeatFailure(errors.New("down"))
	m.ObserveSweep(service.SweepResult{}, nil)
	m.ObserveSweep(service.SweepResult{Swept: true, Transitions: []service.Transition{{
		From:    service.HealthHealthy,
		To:      service.HealthUnhealthy,
		Cause:   service.CauseStale,
		Silence: 31 * time.Second,
	}}}, nil)

	m.ObservePrune(service.RetentionResult{Pruned: 6}, nil)
	m.ObserveSuperseded()
	m.ObserveTokenValidation("ok")
	m.ObserveKeyRefresh("error")
	m.IncRateLimited("RegisterMC")
	m.IncPanic("http")
	m.InitOperations([]string{"FastHeartbeat", "RegisterMC"})
	m.RegisterKeyCount(func() int { return 2 })
	m.ObserveReadiness(map[string]string{"store": "ok", "keys": "none"}, "ok")

	m.RegisterClock(func() map[string]time.Duration { return map[string]time.Duration{"store": -2 * time.Second} })
	refusals := m.RegisterRefusals(func() int { return 4 })
	refusals.IncUnknownCall("http")
	refusals.IncHandshakeFailure("grpc")

	watches := m.RegisterWatches()
	watches.SetWatches(8)
	watches.IncLagged()
	watches.ObserveDelivery(time.Second)
	watches.IncReconnected()

	got := scrape(m)
	lines := []string{
		`gc_requests_total{code="OK",endpoint="FastHeartbeat",transport="grpc"} 2`,
		`gc_request_duration_seconds_count{endpoint="FastHeartbeat",transport="grpc"} 2`,
		`gc_registered_controllers{region="eu",status="healthy"} 2`,
		`gc_registered_controllers{region="eu",status="draining"} 0`,
		`gc_registered_controllers{region="us",status="healthy"} 0`,
		`gc_stale_controllers{region="eu"} 4`,
		`gc_stale_controllers{region="us"} 0`,
		`gc_health_transitions_total{cause="stale",from="draining",to="draining"} 0`,
		`gc_capacity_meetings{kind="max",region="eu"} 20`,
		`gc_capacity_meetings{kind="current",region="eu"} 3`,
		`gc_capacity_meetings{kind="serving",region="eu"} 18`,
		`gc_capacity_meetings{kind="running",region="eu"} 2`,
		`gc_capacity_meetings{kind="largest",region="eu"} 9`,
		`gc_capacity_meetings{kind="serving",region="us"} 0`,
		`gc_health_transitions_total{cause="register",from="none",to="pending"} 1`,
		`gc_health_transitions_total{cause="stale",from="healthy",to="unhealthy"} 1`,
		`gc_detection_seconds_sum 31`,
		`gc_heartbeat_batch_size_sum 7`,
		`gc_heartbeat_commit_seconds_count 1`,
		`gc_health_checker_runs_total{result="error"} 2`,
		`gc_health_checker_runs_total{result="hold"} 1`,
		`gc_health_checker_runs_total{result="idle"} 1`,
		`gc_health_checker_runs_total{result="swept"} 1`,
		`gc_health_checker_hold 0`,
		`gc_db_queries_total{operation="heartbeat",status="ok"} 1`,
		`gc_db_pool_max_connections 20`,
		`gc_db_pool_open_connections 7`,
		`gc_db_pool_in_use_connections 5`,
		`gc_db_pool_waits_total 3`,
		`gc_db_pool_wait_seconds_total 2`,
		`gc_db_query_duration_seconds_count{operation="heartbeat"} 1`,
		`gc_history_pruned_total 6`,
		`gc_incarnation_conflicts_total 1`,
		`gc_jwt_validations_total{result="ok"} 1`,
		`gc_jwks_refresh_total{result="error"} 1`,
		`gc_rate_limited_total{endpoint="RegisterMC"} 1`,
		`gc_requests_total{code="Unavailable",endpoint="FastHeartbeat",transport="grpc"} 0`,
		`gc_rate_limited_total{endpoint="FastHeartbeat"} 0`,
		`gc_db_queries_total{operation="heartbeat",status="error"} 0`,
		`gc_health_transitions_total{cause="stale",from="degraded",to="unhealthy"} 0`,
		`gc_detection_promise_seconds 35`,
		`gc_detection_seconds_bucket{le="36"} 1`,
		`gc_jwks_keys 2`,
		`gc_ready{check="store"} 1`,
		`gc_ready{check="keys"} 0`,
		`gc_panics_total{transport="http"} 1`,
		`gc_clock_offset_seconds{reference="store"} -2`,
		`gc_dropped_key_callers 4`,
		`gc_unknown_calls_total{transport="grpc"} 0`,
		`gc_unknown_calls_total{transport="http"} 1`,
		`gc_tls_handshake_failures_total{transport="grpc"} 1`,
		`gc_watchers 8`,
		`gc_watch_lagged_total 1`,
		`gc_watch_delivery_seconds_sum 1`,
		`gc_watch_listener_reconnects_total 1`,
		`gc_build_info{go_version="` + runtime.Version() + `",version="1.2.3"} 1`,
	}
	for _, want := range lines {
		if !strings.Contains(got, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	checkAllExpected(t, m, lines)

	store.err = errors.New("down")
	if got := scrape(m); !strings.Contains(got, "gc_registered_controllers{") {
		t.Error("the last summary must be shared for a moment, because the number of scrapes is not limited")
	}

	time.Sleep(2 * regionsMaxAge)
	if got := scrape(m); strings.Contains(got, "gc_registered_controllers{") || !strings.Contains(got, "gc_requests_total") {
		t.Error("while the store is down, the page must have all metrics but those of the fleet")
	}
}

// checkAllExpected checks that each metric of m has an expected line.
func checkAllExpected(t *testing.T, m *Metrics, lines []string) {
	t.Helper()
	descriptions := make(chan *prometheus.Desc, 1000)
	m.registry.Describe(descriptions)
	close(descriptions)
	for description := range descriptions {
		name := metricName.FindString(description.String())
		isExpected := func(line string) bool { return strings.HasPrefix(line, name) }
		if name != "" && !slices.ContainsFunc(lines, isExpected) {
			t.Errorf("no line of %s is expected: record an event, and add the line to testPage", name)
		}
	}
}

func TestDetectionBuckets_ContainTheLimit(t *testing.T) {
	for _, tc := range []struct{ threshold, interval time.Duration }{
		{30 * time.Second, 5 * time.Second},
		{time.Second, 5 * time.Second},
		{5 * time.Second, 5 * time.Second},
		{24 * time.Hour, time.Second},
	} {
		buckets, limit := detectionBuckets(tc.threshold, tc.interval), (tc.threshold + tc.interval).Seconds()
		if !slices.IsSorted(buckets) || !slices.Contains(buckets, limit) || slices.Min(buckets) <= 0 {
			t.Errorf("buckets of %v and %v = %v, want them in order and %v among them", tc.threshold, tc.interval, buckets, limit)
		}
	}

	want := []float64{5, 10, 20, 25, 30, 31, 32, 33, 34, 35, 36, 40, 60, 120, 300}
	if diff := cmp.Diff(want, detectionBuckets(30*time.Second, 5*time.Second)); diff != "" {
		t.Errorf("buckets of the defaults (-want +got):\n%s", diff)
	}
}

func TestObserveCall_Exemplar(t *testing.T) {
	m := New("x", 30*time.Second, 5*time.Second)
	m.ObserveCall("grpc", "RegisterMC", "OK", time.Millisecond, "4bf92f3577b34da6a3ce929d0e0e4736")
	m.ObserveCall("http", "RegisterMC", "OK", time.Millisecond, "")

	request := httptest.NewRequest("GET", "/metrics", nil)
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, request)

	var with []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "trace_id") {
			with = append(with, line)
		}
	}

	want := `gc_request_duration_seconds_bucket{endpoint="RegisterMC",transport="grpc",le="0.001"} 1 ` +
		`# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.001 `
	if len(with) != 1 || !strings.HasPrefix(with[0], want) {
		t.Errorf("lines with a trace: %q, want one that begins with %q", with, want)
	}
}

func TestObserveCall_Allocations(t *testing.T) {
	m := New("x", 30*time.Second, 5*time.Second)
	got := testing.AllocsPerRun(1000, func() { m.ObserveCall("grpc", "FastHeartbeat", "OK", time.Millisecond, "") })
	if got > 1 {
		t.Errorf("allocations for a call = %v, want at most 1", got)
	}
}
