//go:build !race

package daemon

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
	"darktower.example/global-controller/service"
)

// What the watch promises, and over what it is measured.
const (
	latencyFleet   = 5000
	latencyChanges = 300 // at each replica
	latencyEvery   = 10 * time.Millisecond
	latencyBeats   = 500 // a second, of the whole fleet
	latencyBound   = 200 * time.Millisecond
)

// TestAChangeReachesAWatcherInTime measures from the begin of the heartbeat that changes a controller's state to when a
// watcher of the whole fleet has read of it. It is not built with the race detector, which makes everything several times
// slower than what is promised, and it runs beside no other test of its package.
func TestAChangeReachesAWatcherInTime(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		a := newWorld(t, sqliteURL(t), nil).ready()
		measureLatency(t, a, map[string]*world{"own": a})
	})
	t.Run("postgres", func(t *testing.T) {
		url := testpg.URL(t)
		a := newWorld(t, url, nil).ready()
		measureLatency(t, a, map[string]*world{"own": a, "other": a.replica(url).ready()})
	})
}

// measureLatency watches at one replica what is changed at each of madeAt.
func measureLatency(t *testing.T, watchedAt *world, madeAt map[string]*world) {
	fill(t, watchedAt)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	seen := &firsts{at: make(map[string]time.Time)}
	watching := make(chan struct{})
	background.Go(func() { watchedAt.readTransitions(ctx, watching, seen.note) })
	<-watching
	for _, w := range madeAt {
		background.Go(func() { w.beatAll(ctx, latencyBeats/len(madeAt)) })
	}
	began := &firsts{at: make(map[string]time.Time)}
	var changes sync.WaitGroup
	for name, w := range madeAt {
		changes.Go(func() {
			tick := time.NewTicker(latencyEvery)
			defer tick.Stop()
			for n := range latencyChanges {
				<-tick.C
				id := changedID(name, n)
				changes.Go(func() {
					began.note(id)
					w.heartbeat(id, with(load(), "health", 2))
				})
			}
		})
	}
	changes.Wait()
	watchedAt.until("all changes", func() bool { return seen.count() == latencyChanges*len(madeAt) })
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
func beatingID(n int) string                 { return fmt.Sprintf("mc-%d", n) }

// firsts has when something was first noted of each id.
type firsts struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (f *firsts) note(id string) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.at[id]; !ok {
		f.at[id] = now
	}
}

func (f *firsts) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.at)
}

// fill registers the fleet and has it healthy.
func fill(t *testing.T, w *world) {
	t.Helper()
	var all sync.WaitGroup
	ids := make(chan string)
	for range 64 {
		all.Go(func() {
			for id := range ids {
				r := service.Registration{ControllerID: id, Region: "eu-west-1", GRPCEndpoint: "http://mc.example:50052", MaxMeetings: 100, MaxParticipants: 1000}
				if _, err := w.server.store.Register(t.Context(), r, "test"); err != nil {
					t.Errorf("Register(%s) = %v", id, err)
				}
				if _, err := w.server.store.Heartbeat(t.Context(), service.HeartbeatWrite{ControllerID: id, Reported: service.HealthHealthy}); err != nil {
					t.Errorf("Heartbeat(%s) = %v", id, err)
				}
			}
		})
	}
	for n := range latencyFleet {
		ids <- beatingID(n)
		if n < latencyChanges {
			ids <- changedID("own", n)
			ids <- changedID("other", n)
		}
	}
	close(ids)
	all.Wait()
}

// readTransitions watches the whole fleet with its loads until ctx ends, and closes watching when the snapshot is whole.
func (w *world) readTransitions(ctx context.Context, watching chan<- struct{}, note func(id string)) {
	stream, err := fleetpb.NewFleetServiceClient(w.conn).Watch(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.reader()), &fleetpb.WatchRequest{Loads: true})
	if err != nil {
		w.t.Errorf("Watch() = %v", err)
		return
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			if ctx.Err() == nil {
				w.t.Errorf("the watch ended: %v", err)
			}
			return
		}
		if e.GetSnapshot().GetEnd() {
			close(watching)
		}
		for _, c := range e.GetChanges().GetChanges() {
			if c.GetTransition() != nil {
				note(c.GetControllerId())
			}
		}
	}
}

// beatAll sends the fleet's heartbeats, so many a second, until ctx ends.
func (w *world) beatAll(ctx context.Context, perSecond int) {
	const ticks = 20
	stream, err := w.open(ctx, *w.mc())
	if err != nil {
		w.t.Errorf("open: %v", err)
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
			if stream.Send(fastBeat(uint64(n), beatingID(n%latencyFleet), uint32(n%90))) != nil {
				return
			}
			n++
		}
	}
}
