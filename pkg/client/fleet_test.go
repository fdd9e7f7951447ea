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

// fleet is a Global Controller to many sessions, all in one bubble.
type fleet struct {
	mu    sync.Mutex
	down  bool
	calls map[int]int // By second since began.
	began time.Time
	heard map[*fleetCalls]time.Time
}

// fleetCalls is the transport of one session.
type fleetCalls struct{ fleet *fleet }

func (c *fleetCalls) take() (answer, error) {
	f := c.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[int(time.Since(f.began)/time.Second)]++
	if f.down {
		return answer{}, failed(codes.Unavailable)
	}
	f.heard[c] = time.Now()
	return answer{}, nil
}

func (c *fleetCalls) register(context.Context) (answer, error)          { return c.take() }
func (c *fleetCalls) heartbeat(context.Context, report) (answer, error) { return c.take() }
func (c *fleetCalls) deregister(context.Context) error                  { return nil }
func (*fleetCalls) close()                                              {}

// TestAFleetComesBackAtItsSteadyRate is the case that all the chance is for: an outage of three times the staleness
// threshold, after a beginning that was as bad as can be, as all registered at the same time.
func TestAFleetComesBackAtItsSteadyRate(t *testing.T) {
	t.Parallel()
	const (
		size    = 500
		steady  = size / 10 // A second.
		quiet   = time.Minute
		outage  = 90 * time.Second
		watched = 45 * time.Second
	)
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{calls: make(map[int]int), heard: make(map[*fleetCalls]time.Time), began: time.Now()}
		ctx, cancel := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		for i := range size {
			tr := newTrial(t, nil)
			s := newSession(tr.cfg, &fleetCalls{f}, rand.New(rand.NewPCG(1, uint64(i))).Float64) // The same chance each time.
			all.Go(func() { _ = s.run(ctx) })
		}
		time.Sleep(quiet)
		f.mu.Lock()
		f.down = true
		f.mu.Unlock()
		time.Sleep(outage)
		f.mu.Lock()
		f.down = false
		back := time.Now()
		f.mu.Unlock()
		time.Sleep(defaultFast)
		f.mu.Lock()
		for _, at := range f.heard {
			if at.Before(back) {
				t.Errorf("one was last heard %v before the end of the outage, want it heard within an interval of it", back.Sub(at))
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
		if len(f.heard) != size {
			t.Errorf("heard %d controllers, want %d", len(f.heard), size)
		}
	})
}
