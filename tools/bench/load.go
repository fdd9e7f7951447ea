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

// heartbeatInterval is the mean interval of a controller. A fast heartbeat each 10 s and a comprehensive one each 30 s are
// four heartbeats in 30 s.
const heartbeatInterval = 7500 * time.Millisecond

// loadSpec describes a load of heartbeats.
type loadSpec struct {
	connections []*grpc.ClientConn
	callers     int
	controllers int
	newSender   newSender
	// warmUp is how long heartbeats are sent before the measurement, duration how long it takes.
	warmUp   time.Duration
	duration time.Duration
	meter    *meter
}

// loadResult is what the callers have measured.
type loadResult struct {
	took      time.Duration
	latencies []time.Duration // sorted
	errors    int
	lastError error
}

func (r loadResult) quantile(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[min(len(r.latencies)-1, int(q*float64(len(r.latencies))))]
}

// callerResult is what one caller has measured.
type callerResult struct {
	latencies []time.Duration
	errors    int
	lastError error
}

func (c *callerResult) add(latency time.Duration, err error) {
	if err != nil {
		c.errors++
		c.lastError = err
		return
	}
	c.latencies = append(c.latencies, latency)
}

// collector merges the results of callers.
type collector struct {
	mu     sync.Mutex
	result loadResult
}

func (c *collector) merge(caller callerResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.result.latencies = append(c.result.latencies, caller.latencies...)
	c.result.errors += caller.errors
	if caller.lastError != nil {
		c.result.lastError = caller.lastError
	}
}

// openSenders returns a sender for each caller. Callers share the connections.
func (l loadSpec) openSenders(ctx context.Context) ([]sendHeartbeat, error) {
	senders := make([]sendHeartbeat, l.callers)
	for i := range senders {
		var err error
		if senders[i], err = l.newSender(ctx, l.connections[i%len(l.connections)]); err != nil {
			return nil, err
		}
	}
	return senders, nil
}

// runClosedLoop makes each caller send the next heartbeat as soon as the last one is acknowledged. The controllers are
// divided among the callers.
func (l loadSpec) runClosedLoop(ctx context.Context) (loadResult, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	senders, err := l.openSenders(ctx)
	if err != nil {
		return loadResult{}, err
	}

	var (
		callers     sync.WaitGroup
		collected   collector
		isMeasuring atomic.Bool
		hasEnded    atomic.Bool
		start       = make(chan struct{})
	)

	for i, send := range senders {
		callers.Go(func() {
			result := callerResult{latencies: make([]time.Duration, 0, 1<<14)}
			<-start

			for controller := i; !hasEnded.Load(); controller = (controller + l.callers) % max(l.controllers, l.callers) {
				sentAt := time.Now()
				err := send(ctx, controller)
				if isMeasuring.Load() && !hasEnded.Load() {
					result.add(time.Since(sentAt), err)
				}
			}
			collected.merge(result)
		})
	}

	close(start)
	time.Sleep(l.warmUp)
	isMeasuring.Store(true)
	startedAt := time.Now()
	l.meter.begin()
	time.Sleep(l.duration)
	hasEnded.Store(true)
	collected.result.took = time.Since(startedAt)
	l.meter.end()

	callers.Wait()
	slices.Sort(collected.result.latencies)
	return collected.result, nil
}

// scheduledHeartbeat is the next heartbeat of a controller in a paced load.
type scheduledHeartbeat struct {
	controller int
	at         time.Time
}

// scheduleHeartbeats returns the first heartbeats of a caller's controllers, sorted by time, each at a random time within
// the first interval.
func (l loadSpec) scheduleHeartbeats(caller int, start time.Time) (schedule []scheduledHeartbeat) {
	for controller := caller; controller < l.controllers; controller += l.callers {
		offset := time.Duration(rand.Int64N(int64(heartbeatInterval)))
		schedule = append(schedule, scheduledHeartbeat{controller: controller, at: start.Add(offset)})
	}
	slices.SortFunc(schedule, func(x, y scheduledHeartbeat) int { return x.at.Compare(y.at) })
	return schedule
}

// runPaced makes each controller send heartbeats at the rate of production, at its own times. The controllers are divided
// among the callers. If a caller is late, it sends at once; the latency counts from the scheduled time.
func (l loadSpec) runPaced(ctx context.Context) (loadResult, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	senders, err := l.openSenders(ctx)
	if err != nil {
		return loadResult{}, err
	}

	var (
		callers      sync.WaitGroup
		collected    collector
		start        = time.Now().Add(time.Second)
		measureFrom  = start.Add(l.warmUp)
		measureUntil = measureFrom.Add(l.duration)
	)

	for i, send := range senders {
		callers.Go(func() {
			var result callerResult
			schedule := l.scheduleHeartbeats(i, start)
			for n := 0; len(schedule) > 0; n = (n + 1) % len(schedule) {
				at := schedule[n].at
				schedule[n].at = at.Add(heartbeatInterval)
				if at.After(measureUntil) {
					break
				}

				time.Sleep(time.Until(at))
				err := send(ctx, schedule[n].controller)
				if !at.Before(measureFrom) {
					result.add(time.Since(at), err)
				}
			}
			collected.merge(result)
		})
	}

	time.Sleep(time.Until(measureFrom))
	l.meter.begin()
	startedAt := time.Now()
	time.Sleep(time.Until(measureUntil))
	collected.result.took = time.Since(startedAt)
	l.meter.end()

	callers.Wait()
	slices.Sort(collected.result.latencies)
	return collected.result, nil
}

// runConcurrently calls do for 0 to n-1 in a number of workers. Each worker stops at its first error.
func runConcurrently(workers, n int, do func(i int) error) error {
	var (
		running sync.WaitGroup
		next    atomic.Int64
		mu      sync.Mutex
		errs    error
	)

	for range workers {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					mu.Lock()
					errs = errors.Join(errs, err)
					mu.Unlock()
					return
				}
			}
		})
	}

	running.Wait()
	return errs
}
