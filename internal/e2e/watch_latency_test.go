//go:build !race

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/internal/testpg"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// What the watch promises, and over what it is measured.
const (
	latencyFleet   = 5000
	latencyChanges = 300 // at each replica
	latencyEvery   = 10 * time.Millisecond
	latencyBeats   = 500 // a second, of the whole fleet
	latencyBound   = 200 * time.Millisecond
)

// TestWatch_Latency measures from the begin of the heartbeat that changes a controller's state to when a
// watcher of the whole fleet has read of it. It is not built with the race detector, which makes everything several times
// slower than what is promised, and it runs beside no other test of its package.
func TestWatch_Latency(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		a := newEnvironment(t, sqliteURL(t), nil).waitReady()
		measureLatency(t, a, map[string]*environment{"own": a})
	})
	t.Run("postgres", func(t *testing.T) {
		url := testpg.URL(t)
		a := newEnvironment(t, url, nil).waitReady()
		measureLatency(t, a, map[string]*environment{"own": a, "other": a.startReplica(url).waitReady()})
	})
}

// measureLatency watches at one replica what is changed at each of madeAt.
func measureLatency(t *testing.T, watchedAt *environment, madeAt map[string]*environment) {
	watchedAt.registerLatencyFleet()
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()

	seen := &firstTimes{at: make(map[string]time.Time)}
	watching := make(chan struct{})
	background.Go(func() { watchedAt.watchTransitions(ctx, &fleetpb.WatchRequest{Loads: true}, watching, seen.record) })
	<-watching
	for _, env := range madeAt {
		background.Go(func() { env.sendHeartbeats(ctx, latencyBeats/len(madeAt)) })
	}
	began := &firstTimes{at: make(map[string]time.Time)}
	var changes sync.WaitGroup

	for name, env := range madeAt {
		changes.Go(func() {
			tick := time.NewTicker(latencyEvery)
			defer tick.Stop()

			for n := range latencyChanges {
				<-tick.C
				id := changedID(name, n)
				changes.Go(func() {
					began.record(id)
					env.heartbeat(id, with(fastHeartbeat(), "health", 2))
				})
			}
		})
	}

	changes.Wait()
	watchedAt.waitFor("all changes", func() bool { return seen.count() == latencyChanges*len(madeAt) })

	for name := range madeAt {
		took := make([]time.Duration, latencyChanges)
		for n := range took {
			took[n] = seen.at[changedID(name, n)].Sub(began.at[changedID(name, n)])
		}
		slices.Sort(took)
		p99 := took[latencyChanges*99/100]
		t.Logf("%d changes made at the %s replica: p50 %v, p99 %v, at most %v", latencyChanges, name, took[latencyChanges/2], p99, took[latencyChanges-1])
		if p99 >= latencyBound {
			t.Errorf("the 99th percentile is %v, want less than %v", p99, latencyBound)
		}
	}
}

// The controllers whose state changes, and the others, which only beat.
func changedID(replica string, n int) string { return fmt.Sprintf("%s-%d", replica, n) }
func otherID(n int) string                   { return fmt.Sprintf("mc-%d", n) }

// firstTimes has when something was first noted of each id.
type firstTimes struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (f *firstTimes) record(id string) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.at[id]; !ok {
		f.at[id] = now
	}
}

func (f *firstTimes) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.at)
}

// registerLatencyFleet registers the fleet and makes it healthy.
func (env *environment) registerLatencyFleet() {
	env.t.Helper()
	var senders sync.WaitGroup
	ids := make(chan string)

	for range 64 {
		senders.Go(func() {
			for id := range ids {
				env.registerHealthy(id)
			}
		})
	}

	for n := range latencyFleet {
		ids <- otherID(n)
		if n < latencyChanges {
			ids <- changedID("own", n)
			ids <- changedID("other", n)
		}
	}

	close(ids)
	senders.Wait()
}

// watchTransitions watches the fleet until ctx ends, and records the controller of each transition. It closes watching when
// the snapshot is complete.
func (env *environment) watchTransitions(
	ctx context.Context, in *fleetpb.WatchRequest, watching chan<- struct{}, record func(id string),
) {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+env.readerToken())
	stream, err := fleetpb.NewFleetServiceClient(env.conn).Watch(ctx, in)
	if err != nil {
		env.t.Errorf("Watch() = %v", err)
		return
	}

	for {
		e, err := stream.Recv()
		if err != nil {
			if ctx.Err() == nil {
				env.t.Errorf("the watch ended: %v", err)
			}
			return
		}

		if e.GetSnapshot().GetEnd() {
			close(watching)
		}
		for _, c := range e.GetChanges().GetChanges() {
			if c.GetTransition() != nil {
				record(c.GetControllerId())
			}
		}
	}
}

// sendHeartbeats sends the fleet's heartbeats, so many a second, until ctx ends.
func (env *environment) sendHeartbeats(ctx context.Context, perSecond int) {
	const ticks = 20
	stream, err := env.openStream(ctx, *env.controllerAuth())
	if err != nil {
		env.t.Errorf("open: %v", err)
		return
	}

	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	}()

	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()

	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}

		for range perSecond / ticks {
			if stream.Send(streamHeartbeat(uint64(n), otherID(n%latencyFleet), uint32(n%90))) != nil {
				return
			}
			n++
		}
	}
}
