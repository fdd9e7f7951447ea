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

func (s *fleetServer) setDown(isDown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isDown = isDown
}

// fleetTransport is the transport of one registration loop.
type fleetTransport struct{ server *fleetServer }

func (c *fleetTransport) record() (callResponse, error) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()

	s.calls[int(time.Since(s.began)/time.Second)]++
	if s.isDown {
		return callResponse{}, newTestFailure(codes.Unavailable)
	}
	s.lastHeartbeat[c] = time.Now()
	return callResponse{}, nil
}

func (c *fleetTransport) register(context.Context) (callResponse, error) { return c.record() }

func (c *fleetTransport) heartbeat(context.Context, heartbeatReport) (callResponse, error) {
	return c.record()
}

func (c *fleetTransport) deregister(context.Context) error { return nil }
func (*fleetTransport) close()                             {}

// TestRegistrationLoop_FleetReturnsAtItsSteadyRate is the case that the random delays are for. All controllers of the fleet
// registered at the same time, and the outage lasts three times the staleness threshold.
func TestRegistrationLoop_FleetReturnsAtItsSteadyRate(t *testing.T) {
	t.Parallel()
	const (
		size     = 500
		steady   = size / 10 // Calls a second.
		quiet    = time.Minute
		outage   = 90 * time.Second
		observed = 45 * time.Second
	)
	synctest.Test(t, func(t *testing.T) {
		server := &fleetServer{
			calls:         make(map[int]int),
			lastHeartbeat: make(map[*fleetTransport]time.Time),
			began:         time.Now(),
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		var clients sync.WaitGroup
		for i := range size {
			random := rand.New(rand.NewPCG(1, uint64(i))).Float64 // The same random numbers in each run.
			loop := newRegistrationLoop(newTestLoop(t, nil).cfg, &fleetTransport{server}, random)
			clients.Go(func() { _ = loop.run(ctx) })
		}

		time.Sleep(quiet)
		server.setDown(true)
		time.Sleep(outage)
		server.setDown(false)
		outageEnd := time.Now()

		time.Sleep(defaultFastInterval)
		server.mu.Lock()
		for _, at := range server.lastHeartbeat {
			if at.Before(outageEnd) {
				t.Errorf("a last heartbeat is %v older than the end of the outage, want it within an interval after it", outageEnd.Sub(at))
			}
		}
		server.mu.Unlock()

		time.Sleep(observed)
		cancel(ErrAbandon)
		clients.Wait()

		from := int((quiet + outage) / time.Second)
		until := int((quiet + outage + observed) / time.Second)
		peak, total := 0, 0
		for second := from; second < until; second++ {
			peak = max(peak, server.calls[second])
			total += server.calls[second]
		}

		t.Logf("peak %d calls a second, mean %d, steady %d", peak, total/(until-from), steady)
		if peak > 2*steady {
			t.Errorf("peak %d calls a second, want at most %d", peak, 2*steady)
		}
		if len(server.lastHeartbeat) != size {
			t.Errorf("heartbeats of %d controllers, want %d", len(server.lastHeartbeat), size)
		}
	})
}
