// Package watch tells any number of readers what changes in the fleet. One [Hub] reads the store for all of them.
package watch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"darktower.example/global-controller/service"
)

const (
	// maxWatches bounds how many readers a server has.
	maxWatches = 5000
	// pace is how far apart readings of the history are at the least, so that many changes become one event for each
	// reader; with many readers, to each of whom it has to be written, it is longer. What comes after a pause is read at
	// once.
	minPollInterval, pollIntervalPerWatch, maxPollInterval = 20 * time.Millisecond, 50 * time.Microsecond, 100 * time.Millisecond
	// How often the store is looked at without being told that something changed: where loads are watched, and otherwise.
	loadsRefreshInterval, defaultRefreshInterval = time.Second, 2 * time.Second
	// rereadEvery is how often the whole fleet is read again, for what was changed by hand.
	rereadInterval = time.Minute
	// keptFor is how long the fleet is kept after the last reader has left.
	keepFleetFor = time.Minute
)

// Observer is told what happens to watches. Its methods must not block.
type Observer interface {
	// SetWatches reports how many readers there are.
	SetWatches(readers int)
	// IncLagged reports that a reader was too slow and begins anew.
	IncLagged()
	// ObserveDelivery reports how long after a change it was passed to the readers.
	ObserveDelivery(took time.Duration)
	// IncReconnected reports that announcements were not heard for a while.
	IncReconnected()
}

// Config is what a hub works with. Every field is needed.
type Config struct {
	Source   service.ChangeSource
	Observer Observer
	Logger   log.Logger
}

// Hub serves watches, and reads the store while there are any. It implements [service.WatchHub].
//
// What readers read is an immutable view, so no reader's work holds a lock that the reading of the store, or a heartbeat
// that announces a change, has to wait for.
type Hub struct {
	cfg     Config
	wake    chan struct{} // Has room for one: something was announced, or somebody waits.
	stopped chan struct{} // Closed when nothing is served any more.
	inbox   inbox
	view    atomic.Pointer[view] // Never nil. Only the goroutine of Run stores another.
	shared  sharedView
	parts   parts
	turns   *turns

	mu               sync.Mutex
	isStopped        bool
	watches          int
	watchesWithLoads int
	idleSince        time.Time
	pollWaiters      []chan error // Who waits for the store to be read.
}

var _ service.WatchHub = (*Hub)(nil)

// New returns a hub that serves once [Hub.Run] runs.
func New(cfg Config) *Hub {
	h := &Hub{cfg: cfg, wake: make(chan struct{}, 1), stopped: make(chan struct{}), turns: newTurns()}
	h.view.Store(&view{updated: make(chan struct{})})
	return h
}

// Run serves until ctx ends, which ends every watch.
func (h *Hub) Run(ctx context.Context) error {
	defer h.stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		}
		if ctx.Err() != nil {
			return nil // Readers that are still there have woken it.
		}
		if h.isIdle(0) {
			continue // Whoever came has left.
		}
		h.pollWhileWatched(ctx)
	}
}

func (h *Hub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.isStopped = true
	h.notifyWaiters(h.pollWaiters, stoppingError())
	h.pollWaiters = nil
	close(h.stopped)
}

func stoppingError() error { return fmt.Errorf("the server is stopping: %w", service.ErrUnavailable) }

// serve reads the store for as long as there are readers, and a while longer, in case they come back.
func (h *Hub) pollWhileWatched(ctx context.Context) {
	serving, end := context.WithCancel(ctx)
	r := newPoller(h)
	var tasks sync.WaitGroup
	tasks.Go(func() { h.cfg.Source.Listen(serving, h.onAnnouncement) })
	defer h.dropFleet()
	defer r.waitForBackgroundRead()
	defer tasks.Wait()
	defer end()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		began := time.Now()
		r.pollOnce(serving, began)
		h.parts.dropUnused(began)
		h.shared.dropExpired(began)
		timer.Reset(max(0, h.pollInterval()-time.Since(began)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}

		timer.Reset(time.Until(r.nextDue()))
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
		if h.isIdle(keepFleetFor) {
			return
		}
	}
}

// publish shows readers a view, and wakes those that wait for news when there are any in it.
func (h *Hub) publish(v *view, hasUpdate bool) {
	previous := h.view.Load().updated
	if v.updated = previous; hasUpdate {
		v.updated = make(chan struct{})
	}
	h.view.Store(v)
	if hasUpdate {
		close(previous)
	}
}

func (h *Hub) pollInterval() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return min(max(minPollInterval, time.Duration(h.watches)*pollIntervalPerWatch), maxPollInterval)
}

// interval is how often the store is looked at.
func (h *Hub) refreshInterval() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchesWithLoads > 0 {
		return loadsRefreshInterval
	}
	return defaultRefreshInterval
}

// idle tells whether there has been no reader for as long as that.
func (h *Hub) isIdle(long time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.watches == 0 && time.Since(h.idleSince) >= long
}

// forget drops the fleet.
func (h *Hub) dropFleet() {
	h.publish(&view{asOf: h.view.Load().asOf}, true)
	h.inbox.take()
	h.shared.dropExpired(time.Now().Add(shareTimeInUse))
	h.parts.clear()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watches > 0 {
		h.wakeUp() // Somebody came just now.
	}
}

// hear takes an announcement.
func (h *Hub) onAnnouncement(a service.Announcement) {
	if a.Reconnected {
		h.cfg.Observer.IncReconnected()
	}
	h.inbox.add(a)
	h.wakeUp()
}

func (h *Hub) wakeUp() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// join counts a reader in.
func (h *Hub) addWatch(loads bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.isStopped:
		return stoppingError()
	case h.watches >= maxWatches:
		return fmt.Errorf("there are %d watches: %w", h.watches, service.ErrUnavailable)
	}
	h.watches++
	if loads {
		h.watchesWithLoads++
	}
	h.cfg.Observer.SetWatches(h.watches)
	return nil
}

func (h *Hub) removeWatch(loads bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watches--
	if loads {
		h.watchesWithLoads--
	}
	if h.watches == 0 {
		h.idleSince = time.Now()
	}
	h.cfg.Observer.SetWatches(h.watches)
}

// await waits until the store has been read anew.
func (h *Hub) waitForPoll(ctx context.Context) error {
	done := make(chan error, 1)
	h.mu.Lock()
	if h.isStopped {
		h.mu.Unlock()
		return stoppingError()
	}
	h.pollWaiters = append(h.pollWaiters, done)
	h.mu.Unlock()
	h.wakeUp()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeWaiting returns the channels of the calls that wait for a reading of the store.
func (h *Hub) takePollWaiters() []chan error {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting := h.pollWaiters
	h.pollWaiters = nil
	return waiting
}

func (*Hub) notifyWaiters(waiting []chan error, err error) {
	for _, done := range waiting {
		done <- err
	}
}

// report logs trouble with the store once, and its end.
func (h *Hub) logReadError(before, now error) {
	switch {
	case now != nil && before == nil:
		_ = level.Error(h.cfg.Logger).Log("msg", "watches cannot read the store", "err", now)
	case now == nil && before != nil:
		_ = level.Info(h.cfg.Logger).Log("msg", "watches read the store again")
	}
}
