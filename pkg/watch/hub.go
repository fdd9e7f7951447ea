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
	// maxWatches limits the watches of a server.
	maxWatches = 5000
	// The poll interval is the minimum time between two polls, so that many changes become one event for each watch. It grows with
	// the number of watches, each of which has to send the event. A change after a pause is read immediately.
	minPollInterval      = 20 * time.Millisecond
	pollIntervalPerWatch = 50 * time.Microsecond
	maxPollInterval      = 100 * time.Millisecond
	// The refresh interval is the maximum time between two polls if no change is announced. It is shorter if a watch has loads.
	loadsRefreshInterval   = time.Second
	defaultRefreshInterval = 2 * time.Second
	// rereadInterval is the time between two reads of the whole fleet, which find changes that were made by hand.
	rereadInterval = time.Minute
	// keepFleetFor is how long the hub keeps the fleet after the last watch has closed.
	keepFleetFor = time.Minute
)

// Observer records events of the hub. Its methods must not block.
type Observer interface {
	// SetWatches records the number of open watches.
	SetWatches(count int)
	// IncLagged counts a watch that was too slow and restarts with a snapshot.
	IncLagged()
	// ObserveDelivery records the time from a transition to the view that has it.
	ObserveDelivery(took time.Duration)
	// IncReconnected counts a time in which announcements of the store were lost.
	IncReconnected()
}

// Config is the configuration of a hub. Every field is required.
type Config struct {
	Source   service.ChangeSource
	Observer Observer
	Logger   log.Logger
}

// Hub serves watches, and reads the store while there are any. It implements [service.WatchHub].
//
// Watches read immutable views. So no watch holds a lock that delays the reads of the store, or a heartbeat that announces a change.
type Hub struct {
	cfg     Config
	wake    chan struct{} // Has room for one: a change was announced, or a call waits for a poll.
	stopped chan struct{} // Closed when Run has ended.
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
	pollWaiters      []chan error // of the calls that wait for a poll
}

var _ service.WatchHub = (*Hub)(nil)

// New returns a hub, which serves watches while [Hub.Run] runs.
func New(cfg Config) *Hub {
	h := &Hub{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		turns:   newTurns(),
	}
	h.view.Store(&view{updated: make(chan struct{})})
	return h
}

// Run serves watches until ctx ends, which ends every watch.
func (h *Hub) Run(ctx context.Context) error {
	defer h.stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		}
		if ctx.Err() != nil {
			return nil // An open watch has sent the wake-up.
		}
		if h.isIdle(0) {
			continue // The watch that sent the wake-up has closed.
		}
		h.pollWhileWatched(ctx)
	}
}

func (h *Hub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.isStopped = true
	notifyWaiters(h.pollWaiters, stoppingError())
	h.pollWaiters = nil
	close(h.stopped)
}

func stoppingError() error { return fmt.Errorf("server is stopping: %w", service.ErrUnavailable) }

// rereadError is the error of a new watch while the hub has no fleet: the history was replaced, or the last watch had closed.
func rereadError() error {
	return fmt.Errorf("the fleet is being read again: %w", service.ErrUnavailable)
}

// pollWhileWatched polls the store while there are watches, and for keepFleetFor after the last one.
func (h *Hub) pollWhileWatched(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	p := newPoller(h)
	var listener sync.WaitGroup
	listener.Go(func() { h.cfg.Source.Listen(ctx, h.onAnnouncement) })

	defer h.dropFleet()
	defer p.waitForBackgroundRead()
	defer listener.Wait()
	defer cancel()

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		began := time.Now()
		p.pollOnce(ctx, began)
		h.parts.dropUnused(began)
		h.shared.dropExpired(began)

		timer.Reset(max(0, h.pollInterval()-time.Since(began)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}

		timer.Reset(time.Until(p.nextPollDue()))
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

// publish replaces the view. If the view has an update, it wakes the watches that wait for one.
func (h *Hub) publish(v *view, hasUpdate bool) {
	updated := h.view.Load().updated
	if !hasUpdate {
		v.updated = updated
		h.view.Store(v)
		return
	}

	v.updated = make(chan struct{})
	h.view.Store(v)
	close(updated)
}

func (h *Hub) pollInterval() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return min(max(minPollInterval, time.Duration(h.watches)*pollIntervalPerWatch), maxPollInterval)
}

func (h *Hub) refreshInterval() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchesWithLoads > 0 {
		return loadsRefreshInterval
	}
	return defaultRefreshInterval
}

// isIdle reports whether there has been no watch for at least minTime.
func (h *Hub) isIdle(minTime time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.watches == 0 && time.Since(h.idleSince) >= minTime
}

// dropFleet frees the memory of the fleet.
func (h *Hub) dropFleet() {
	h.publish(&view{asOf: h.view.Load().asOf}, true)
	h.inbox.take()
	h.shared.dropExpired(time.Now().Add(shareTimeInUse))
	h.parts.clear()

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watches > 0 {
		h.wakeUp() // A watch was opened in the meantime.
	}
}

// onAnnouncement records an announcement of the store.
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

// addWatch counts a new watch. It fails if there are too many.
func (h *Hub) addWatch(hasLoads bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.isStopped:
		return stoppingError()
	case h.watches >= maxWatches:
		return fmt.Errorf("limit of %d watches reached: %w", maxWatches, service.ErrUnavailable)
	}

	h.watches++
	if hasLoads {
		h.watchesWithLoads++
	}
	h.cfg.Observer.SetWatches(h.watches)
	return nil
}

func (h *Hub) removeWatch(hasLoads bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watches--
	if hasLoads {
		h.watchesWithLoads--
	}
	if h.watches == 0 {
		h.idleSince = time.Now()
	}
	h.cfg.Observer.SetWatches(h.watches)
}

// logReadError logs the first of several failures to read the store, and the end of the failures.
func (h *Hub) logReadError(before, now error) {
	switch {
	case now != nil && before == nil:
		_ = level.Error(h.cfg.Logger).Log("msg", "watches cannot read the store", "err", now)
	case now == nil && before != nil:
		_ = level.Info(h.cfg.Logger).Log("msg", "watches can read the store again")
	}
}
