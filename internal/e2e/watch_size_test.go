//go:build !race

package e2e

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"darktower.example/global-controller/internal/testpg"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

var (
	sizeControllers = flag.Int("watch.controllers", 0, "number of controllers of the measurement; 0 skips it")
	sizeReaders     = flag.Int("watch.readers", 1000, "number of watches that resume at the same time")
	sizeBehind      = flag.Int("watch.behind", 4900, "number of transitions since they ended")
)

// TestWatchAtSize measures what 1,000 resuming watches cost a controller that sends heartbeats meanwhile, and how much memory
// they use. The server and the watches are processes of their own.
func TestWatchAtSize(t *testing.T) {
	if *sizeControllers == 0 {
		return // It takes minutes, and other tests would distort it.
	}
	url := testpg.URL(t)
	i := newIssuer(t)
	server := startProcess(
		t,
		"DATABASE_URL="+url,
		"AC_JWKS_URL="+i.server.URL,
		"RATE_LIMIT_RPM=100000000",
		"MC_STALENESS_THRESHOLD_SECONDS=3600",
		"GC_PPROF_ADDRESS=127.0.0.1:0",
	)
	env := newProcessEnvironment(t, i, server).waitReady()
	after := seedFleet(t, url, *sizeControllers) - int64(*sizeBehind)

	alone := env.measureHeartbeats(5*time.Second, nil)
	t.Logf("heartbeats without watches: %s", percentiles(alone))
	env.measureResume(after, alone)
	env.measureHeldWatches(after, modeHold)
	env.measureHeldWatches(after, modeHoldGRPC)
	time.Sleep(2 * time.Second)
	env.measureDelivery(after)
}

// measureResume measures heartbeats while watches resume. alone are those without watches.
func (env *environment) measureResume(after int64, alone []time.Duration) {
	process := startWatchProcess(env.t, env, *sizeReaders, after, modeRead)
	began := time.Now()
	beside := env.measureHeartbeats(time.Minute, process.complete)
	factor := float64(percentile(beside, 99)) / float64(percentile(alone, 99))
	env.t.Logf("heartbeats while %d watches resume (%v): %s; p99 %.1f times that without watches",
		*sizeReaders, time.Since(began).Round(time.Millisecond), percentiles(beside), factor)
	env.t.Logf("%s: %s", modeRead, process.finish())
}

// measureHeldWatches measures the memory for watches whose client reads nothing.
func (env *environment) measureHeldWatches(after int64, mode string) {
	before := env.readHeapSize()
	process := startWatchProcess(env.t, env, *sizeReaders, after, mode)
	<-process.opened
	time.Sleep(5 * time.Second) // By then the server has sent what it can. After 10 s it ends a watch that is not read.
	grown := env.readHeapSize() - before
	env.t.Logf("%s: %d KiB for each of %d watches that are not read", mode, grown/int64(*sizeReaders)>>10, *sizeReaders)
	env.t.Logf("%s: %s", mode, process.finish())
}

// measureDelivery measures the time from a heartbeat to the delivery of its transition, first without other watches and then
// while many resume.
func (env *environment) measureDelivery(after int64) {
	seen, began := newFirstTimes(), newFirstTimes()
	watching := make(chan struct{})
	ctx, cancel := context.WithCancel(env.t.Context())
	defer cancel()
	go env.watchTransitions(ctx, &fleetpb.WatchRequest{}, watching, seen.record)
	<-watching

	const changes = 150
	measure := func(first int) (took []time.Duration) {
		for n := range changes {
			id := fmt.Sprintf("seed-%06d", first+n)
			began.record(id)
			env.heartbeat(id, with(fastHeartbeat(), "health", 2))
			env.waitFor("the transition", func() bool { return !seen.get(id).IsZero() })
			took = append(took, seen.get(id).Sub(began.get(id)))
			time.Sleep(20 * time.Millisecond)
		}
		return took
	}

	env.t.Logf("delivery of a transition: %s", percentiles(measure(2)))
	process := startWatchProcess(env.t, env, *sizeReaders, after, modeRead)
	env.t.Logf("delivery of a transition while %d watches resume: %s", *sizeReaders, percentiles(measure(2+changes)))
	env.t.Logf("%s: %s", modeRead, process.finish())
}

// seedFleet fills the store and returns the newest id of its history.
func seedFleet(t *testing.T, url string, controllers int) (newest int64) {
	t.Helper()
	execute(
		t, url,
		`INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint, max_meetings,
			max_participants, health_status, reported_status)
			SELECT 'seed-' || lpad(n::text, 6, '0'), 'eu-west-1', 'http://mc-' || n || '.example:50052',
			'http://mc-' || n || '.example:50052', 'https://mc-' || n || '.example:4433', 100, 1000, 'healthy', 'healthy'
			FROM generate_series(1, `+strconv.Itoa(controllers)+`) AS n`,
		`INSERT INTO controller_transitions (controller_id, region, from_status, to_status, cause, actor, reason, silence_ms,
			reported_status)
			SELECT 'seed-' || lpad((n % 5000 + 1)::text, 6, '0'), 'eu-west-1', 'degraded', 'healthy', 'heartbeat', 'client-1',
			'reported healthy', 10000, 'healthy' FROM generate_series(1, 10000) AS n`,
		`ANALYZE`,
	)
	return int64(queryCount(t, openDatabase(t, url), `SELECT max(id) FROM controller_transitions`))
}

// measureHeartbeats sends a heartbeat each 20 ms, each of which changes the controller's state, for a time or until done is
// closed. It returns how long each took.
func (env *environment) measureHeartbeats(duration time.Duration, done <-chan struct{}) (took []time.Duration) {
	for end := time.Now().Add(duration); time.Now().Before(end); {
		select {
		case <-done:
			return took
		default:
		}
		began := time.Now()
		env.heartbeat("seed-000001", with(fastHeartbeat(), "health", 1+len(took)%2))
		took = append(took, time.Since(began))
		time.Sleep(20 * time.Millisecond)
	}
	return took
}

func percentile(took []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(took))
	return sorted[(len(sorted)-1)*p/100]
}

func percentiles(took []time.Duration) string {
	return fmt.Sprintf("%d, p50 %v, p99 %v, at most %v", len(took), percentile(took, 50), percentile(took, 99), percentile(took, 100))
}

// readHeapSize returns how many bytes the server's heap and stacks hold after a collection.
func (env *environment) readHeapSize() int64 {
	env.t.Helper()
	response, err := http.Get("http://" + env.profileAddress() + "/debug/pprof/heap?gc=1")
	if err != nil {
		env.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()

	heap, _ := env.readMetric("go_memstats_heap_alloc_bytes")
	stacks, _ := env.readMetric("go_memstats_stack_inuse_bytes")
	return int64(heap + stacks)
}
