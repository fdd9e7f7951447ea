package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// together does n things, width at a time, and returns the first error.
func together(width, n int, do func(i int) error) error {
	var (
		all   sync.WaitGroup
		next  atomic.Int64
		mu    sync.Mutex
		first error
	)
	for range width {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					mu.Lock()
					first = errors.Join(first, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	all.Wait()
	return first
}

// loaded is what a load saw.
type loaded struct {
	took      time.Duration
	latencies []time.Duration
	errors    int
	lastError error
}

func (l loaded) quantile(q float64) time.Duration {
	if len(l.latencies) == 0 {
		return 0
	}
	return l.latencies[min(len(l.latencies)-1, int(q*float64(len(l.latencies))))]
}

// closedLoop has callers send the next heartbeat as soon as the last one is answered. Each goes round the controllers
// that are its own.
func closedLoop(ctx context.Context, conns []*grpc.ClientConn, callers, controllers int, dial dialer, warm, d time.Duration, m *meter) (loaded, error) {
	var (
		all     sync.WaitGroup
		mu      sync.Mutex
		result  loaded
		begun   atomic.Bool
		started = make(chan struct{})
	)
	loadCtx, stop := context.WithCancel(ctx)
	defer stop()
	beats := make([]beat, callers)
	for i := range beats {
		var err error
		if beats[i], err = dial(loadCtx, conns[i%len(conns)]); err != nil {
			return result, err
		}
	}
	var ended atomic.Bool
	for i, beat := range beats {
		all.Go(func() {
			latencies := make([]time.Duration, 0, 1<<14)
			failed, last := 0, error(nil)
			<-started
			for controller := i; !ended.Load(); controller = (controller + callers) % max(controllers, callers) {
				began := time.Now()
				err := beat(loadCtx, controller)
				if !begun.Load() || ended.Load() {
					continue
				}
				if err != nil {
					failed, last = failed+1, err
					continue
				}
				latencies = append(latencies, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			result.latencies = append(result.latencies, latencies...)
			result.errors += failed
			if last != nil {
				result.lastError = last
			}
		})
	}
	close(started)
	time.Sleep(warm)
	begun.Store(true)
	began := time.Now()
	m.begin()
	time.Sleep(d)
	ended.Store(true)
	result.took = time.Since(began)
	m.end()
	all.Wait()
	slices.Sort(result.latencies)
	return result, nil
}

// paced has each controller beat at its own time: every 10 s, and once more every 30 s, as those in the field do.
// Callers share the controllers among them; one whose time has passed while its caller waited beats at once, and its
// latency counts from when it should have.
func paced(ctx context.Context, conns []*grpc.ClientConn, callers, controllers int, dial dialer, warm, d time.Duration, m *meter) (loaded, error) {
	const interval = 7500 * time.Millisecond // Fast each 10 s and comprehensive each 30 s are 4 in 30 s.
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		result loaded
	)
	loadCtx, stop := context.WithCancel(ctx)
	defer stop()
	origin := time.Now().Add(time.Second)
	from, until := origin.Add(warm), origin.Add(warm+d)
	for i := range callers {
		beat, err := dial(loadCtx, conns[i%len(conns)])
		if err != nil {
			return result, err
		}
		all.Go(func() {
			type due struct {
				controller int
				at         time.Time
			}
			var mine []due
			for c := i; c < controllers; c += callers {
				mine = append(mine, due{c, origin.Add(time.Duration(rand.Int64N(int64(interval))))})
			}
			slices.SortFunc(mine, func(x, y due) int { return x.at.Compare(y.at) })
			var latencies []time.Duration
			failed, last := 0, error(nil)
			for n := 0; len(mine) > 0; n = (n + 1) % len(mine) {
				at := mine[n].at
				mine[n].at = at.Add(interval)
				if at.After(until) {
					break
				}
				time.Sleep(time.Until(at))
				err := beat(loadCtx, mine[n].controller)
				switch {
				case at.Before(from):
				case err != nil:
					failed, last = failed+1, err
				default:
					latencies = append(latencies, time.Since(at))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			result.latencies = append(result.latencies, latencies...)
			result.errors += failed
			if last != nil {
				result.lastError = last
			}
		})
	}
	time.Sleep(time.Until(from))
	m.begin()
	began := time.Now()
	time.Sleep(time.Until(until))
	result.took = time.Since(began)
	m.end()
	all.Wait()
	slices.Sort(result.latencies)
	return result, nil
}
