//go:build !race

package e2e

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/pkg/store"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

var (
	sizeControllers = flag.Int("watch.controllers", 0, "number of controllers of the measurement; 0 skips it")
	sizeReaders     = flag.Int("watch.readers", 1000, "number of watches that resume at the same time")
	sizeBehind      = flag.Int("watch.behind", 4900, "number of transitions since they ended")
)

// TestWatch_ResumesAtSize measures what 1,000 resuming watches cost a controller that sends heartbeats meanwhile, and how much memory
// they use. The server and the watches are processes of their own.
func TestWatch_ResumesAtSize(t *testing.T) {
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

// TestWatch_ReadsAtSize measures the reads of a large fleet for watches, metrics and the page.
func TestWatch_ReadsAtSize(t *testing.T) {
	if *sizeControllers == 0 {
		return // It takes a while, and other tests would distort it.
	}

	url := testpg.URL(t)
	if err := store.Migrate(t.Context(), url, log.NewNopLogger()); err != nil {
		t.Fatal(err)
	}
	seedFleet(t, url, *sizeControllers)

	s, err := store.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	db := openDatabase(t, url)

	var since time.Time
	update := func() {
		if err := db.QueryRowContext(t.Context(), `SELECT clock_timestamp()`).Scan(&since); err != nil {
			t.Fatal(err)
		}
		execute(t, url, `UPDATE meeting_controllers SET current_meetings = (current_meetings + 1) % 90, last_heartbeat_at = clock_timestamp()
			WHERE right(controller_id, 1) IN ('1', '2')`)
	}

	for name, read := range map[string]func(context.Context) (int, error){
		"regions":          func(ctx context.Context) (int, error) { found, err := s.Regions(ctx); return len(found), err },
		"poll of a fifth":  func(ctx context.Context) (int, error) { return pollAtSize(ctx, s, since) },
		"one page of 1000": func(ctx context.Context) (int, error) { return pageAtSize(ctx, s) },
	} {
		var took []time.Duration
		n := 0
		for range 7 {
			update()
			began := time.Now()
			var err error
			if n, err = read(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			took = append(took, time.Since(began))
		}
		t.Logf("%s of %d controllers: %d rows, p50 %v, least %v", name, *sizeControllers, n, percentile(took, 50), percentile(took, 0))
	}
}

func pageAtSize(ctx context.Context, s *store.Store) (int, error) {
	found, err := s.Controllers(ctx, service.ControllerFilter{AfterID: "seed-020000", Limit: 1000})
	return len(found), err
}

func pollAtSize(ctx context.Context, s *store.Store, since time.Time) (int, error) {
	found, err := s.ControllersUpdated(ctx, since)
	return len(found), err
}
