//go:build !race

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/internal/testpg"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// The limit of the latency, and the load during the measurement.
const (
	latencyLimit   = 200 * time.Millisecond // of the 99th percentile
	latencyFleet   = 5000
	latencyChanges = 300 // at each replica
	latencyEvery   = 10 * time.Millisecond
	latencyRate    = 500 // heartbeats a second, of the whole fleet
)

// TestWatch_Latency measures the time from the start of a heartbeat that changes a controller's state until a watch of the whole
// fleet shows it. It is not built with the race detector, which makes the server several times slower, and it runs beside no
// other test.
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

// measureLatency watches at one replica the transitions that are made at each of the others.
func measureLatency(t *testing.T, watchedAt *environment, madeAt map[string]*environment) {
	watchedAt.registerLatencyFleet()
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()

	began, seen := newFirstTimes(), newFirstTimes()
	watching := make(chan struct{})
	background.Go(func() { watchedAt.watchTransitions(ctx, &fleetpb.WatchRequest{Loads: true}, watching, seen.record) })
	<-watching

	for _, env := range madeAt {
		background.Go(func() { env.sendHeartbeats(ctx, latencyRate/len(madeAt)) })
	}

	var changes sync.WaitGroup
	for name, env := range madeAt {
		changes.Go(func() { env.makeTransitions(name, began.record) })
	}
	changes.Wait()
	watchedAt.waitFor("all transitions", func() bool { return seen.count() == latencyChanges*len(madeAt) })

	for name := range madeAt {
		took := make([]time.Duration, latencyChanges)
		for n := range took {
			took[n] = seen.get(changedID(name, n)).Sub(began.get(changedID(name, n)))
		}
		t.Logf("transitions made at the %s replica: %s", name, percentiles(took))
		if p99 := percentile(took, 99); p99 >= latencyLimit {
			t.Errorf("the 99th percentile is %v, want less than %v", p99, latencyLimit)
		}
	}
}

// changedID names the controllers whose state changes, and otherID those that only send heartbeats.
func changedID(replica string, n int) string { return fmt.Sprintf("%s-%d", replica, n) }
func otherID(n int) string                   { return fmt.Sprintf("mc-%d", n) }

// makeTransitions changes the state of one controller after the other, and records each before its heartbeat.
func (env *environment) makeTransitions(replica string, record func(id string)) {
	var heartbeats sync.WaitGroup
	ticker := time.NewTicker(latencyEvery)
	defer ticker.Stop()
	for n := range latencyChanges {
		<-ticker.C
		heartbeats.Go(func() {
			record(changedID(replica, n))
			env.heartbeat(changedID(replica, n), with(fastHeartbeat(), "health", 2))
		})
	}
	heartbeats.Wait()
}

// firstTimes has the time at which each id was recorded first.
type firstTimes struct {
	mu sync.Mutex
	at map[string]time.Time
}

func newFirstTimes() *firstTimes { return &firstTimes{at: make(map[string]time.Time)} }

func (f *firstTimes) record(id string) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.at[id]; !ok {
		f.at[id] = now
	}
}

func (f *firstTimes) get(id string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[id]
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

// sendHeartbeats sends heartbeats of the fleet over a stream until ctx ends.
func (env *environment) sendHeartbeats(ctx context.Context, perSecond int) {
	const ticksPerSecond = 20
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

	ticker := time.NewTicker(time.Second / ticksPerSecond)
	defer ticker.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for range perSecond / ticksPerSecond {
			if stream.Send(streamHeartbeat(uint64(n), otherID(n%latencyFleet), uint32(n%90))) != nil {
				return
			}
			n++
		}
	}
}
