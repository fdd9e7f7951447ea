package client

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// fleetServer is the Global Controller of many registration loops, all in one bubble.
type fleetServer struct {
	mu            sync.Mutex
	isDown        bool
	calls         map[int]int // By second since began.
	began         time.Time
	lastHeartbeat map[*fleetTransport]time.Time
}

// fleetTransport is the transport of one registration loop.
type fleetTransport struct{ server *fleetServer }

func (c *fleetTransport) record() (callResponse, error) {
	f := c.server
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[int(time.Since(f.began)/time.Second)]++
	if f.isDown {
		return callResponse{}, newTestFailure(codes.Unavailable)
	}
	f.lastHeartbeat[c] = time.Now()
	return callResponse{}, nil
}

func (c *fleetTransport) register(context.Context) (callResponse, error) { return c.record() }

func (c *fleetTransport) heartbeat(context.Context, heartbeatReport) (callResponse, error) {
	return c.record()
}
func (c *fleetTransport) deregister(context.Context) error { return nil }
func (*fleetTransport) close()                             {}

// TestRegistrationLoop_FleetReturnsAtItsSteadyRate is the case that the random delays are for: an outage of three times the
// staleness threshold in a fleet whose controllers all registered at the same time.
func TestRegistrationLoop_FleetReturnsAtItsSteadyRate(t *testing.T) {
	t.Parallel()
	const (
		size    = 500
		steady  = size / 10 // A second.
		quiet   = time.Minute
		outage  = 90 * time.Second
		watched = 45 * time.Second
	)
	synctest.Test(t, func(t *testing.T) {
		f := &fleetServer{calls: make(map[int]int), lastHeartbeat: make(map[*fleetTransport]time.Time), began: time.Now()}
		ctx, cancel := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		for i := range size {
			tr := newLoopTrial(t, nil)
			s := newRegistrationLoop(tr.cfg, &fleetTransport{f}, rand.New(rand.NewPCG(1, uint64(i))).Float64) // The same random numbers in each run.
			all.Go(func() { _ = s.run(ctx) })
		}

		time.Sleep(quiet)
		f.mu.Lock()
		f.isDown = true
		f.mu.Unlock()
		time.Sleep(outage)
		f.mu.Lock()
		f.isDown = false
		back := time.Now()
		f.mu.Unlock()
		time.Sleep(defaultFastInterval)
		f.mu.Lock()

		for _, at := range f.lastHeartbeat {
			if at.Before(back) {
				t.Errorf("a last heartbeat is %v older than the end of the outage, want it within an interval after it", back.Sub(at))
			}
		}

		f.mu.Unlock()
		time.Sleep(watched)
		cancel(ErrAbandon)
		all.Wait()
		peak, total, from, until := 0, 0, int((quiet+outage)/time.Second), int((quiet+outage+watched)/time.Second)
		for second := from; second < until; second++ {
			peak, total = max(peak, f.calls[second]), total+f.calls[second]
		}
		t.Logf("peak %d calls a second, mean %d, steady %d", peak, total/(until-from), steady)
		if peak > 2*steady {
			t.Errorf("peak %d calls a second, want at most %d", peak, 2*steady)
		}
		if len(f.lastHeartbeat) != size {
			t.Errorf("heartbeats of %d controllers, want %d", len(f.lastHeartbeat), size)
		}
	})
}
