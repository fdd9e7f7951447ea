package health

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFailing limits the number of controllers whose failed heartbeats are remembered.
	maxFailing = 1 << 16
	// maxRecorded limits the number of failed controllers that one beat writes.
	maxRecorded = 5000
)

// HeartbeatMonitor judges whether this replica commits the heartbeats that it receives. While no heartbeat fails, it only counts. After
// a failure, it compares two numbers: the controllers whose latest heartbeat failed, and the recently committed heartbeats. So one
// locked row does not make the replica unserviceable, and one commit does not make it serviceable again.
type HeartbeatMonitor struct {
	// now is the wall clock; tests replace it.
	now func() time.Time
	// window is the time for which commits count.
	window time.Duration
	// failureLifetime is the time for which a failure counts if no later heartbeat of the controller replaces it.
	failureLifetime time.Duration

	commits   atomic.Int64
	failing   atomic.Int64 // len(failed)
	isFailing atomic.Bool  // more failed controllers than recent commits, by the last [HeartbeatMonitor.Evaluate]

	mu     sync.Mutex
	failed map[string]time.Time
	// unrecorded are the failed controllers that no beat has written yet.
	unrecorded map[string]struct{}
	samples    []sample // oldest first; all but the first are younger than the window
}

// sample is the number of heartbeats committed until a time.
type sample struct {
	at      time.Time
	commits int64
}

// NewHeartbeatMonitor returns the monitor of a fleet whose controllers send a heartbeat every interval. If now is nil, it uses [time.Now].
func NewHeartbeatMonitor(interval time.Duration, now func() time.Time) *HeartbeatMonitor {
	if now == nil {
		now = time.Now
	}

	return &HeartbeatMonitor{
		now: now,
		// A quarter more than one interval: a controller that is a little late still has a commit in the window.
		window: interval * 5 / 4,
		// A controller whose heartbeats keep failing sends the next one within two intervals.
		failureLifetime: 2 * interval,
		failed:          make(map[string]time.Time),
		unrecorded:      make(map[string]struct{}),
	}
}

// ObserveCommit records that a controller's heartbeat was committed.
func (h *HeartbeatMonitor) ObserveCommit(controllerID string) {
	h.commits.Add(1)
	if h.failing.Load() == 0 {
		return
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(controllerID)
}

// ObserveFailure records that an authenticated controller's heartbeat could not be committed for a server-side reason.
func (h *HeartbeatMonitor) ObserveFailure(controllerID string) { h.add(controllerID, true) }

// ObserveUnverifiable records a heartbeat that was refused because this replica cannot verify its token for a server-side reason. It
// counts as failed, but excuses no controller, because the controller id is not authenticated.
func (h *HeartbeatMonitor) ObserveUnverifiable(controllerID string) { h.add(controllerID, false) }

func (h *HeartbeatMonitor) add(controllerID string, isExcused bool) {
	h.mu.Lock()
	defer h.mu.Unlock()

	if _, isKnown := h.failed[controllerID]; !isKnown && len(h.failed) >= maxFailing {
		return
	}

	h.failed[controllerID] = h.now()
	if isExcused {
		h.unrecorded[controllerID] = struct{}{}
	}
	h.failing.Store(int64(len(h.failed)))
}

func (h *HeartbeatMonitor) removeLocked(controllerID string) {
	delete(h.failed, controllerID)
	delete(h.unrecorded, controllerID)
	h.failing.Store(int64(len(h.failed)))
}

// Evaluate compares the failed heartbeats with the recently committed ones. The checker calls it before each beat.
func (h *HeartbeatMonitor) Evaluate() {
	h.mu.Lock()
	defer h.mu.Unlock()

	now, committed := h.now(), h.commits.Load()

	h.samples = append(h.samples, sample{now, committed})
	for len(h.samples) > 1 && now.Sub(h.samples[1].at) >= h.window {
		h.samples = h.samples[1:]
	}
	committed -= h.samples[0].commits

	failing := int64(0)
	for id, at := range h.failed {
		_, isUnrecorded := h.unrecorded[id]
		switch {
		case now.Sub(at) <= h.failureLifetime:
			failing++
		case !isUnrecorded: // A failure that no beat has written yet is kept for the next beat.
			h.removeLocked(id)
		}
	}
	h.isFailing.Store(failing > committed)
}

// State returns "failing" if, by the last [HeartbeatMonitor.Evaluate], more controllers' latest heartbeats failed than heartbeats were
// committed, and [StateOK] otherwise.
func (h *HeartbeatMonitor) State() string {
	if h.isFailing.Load() {
		return "failing"
	}
	return StateOK
}

// takeFailed returns the controllers whose failure no beat has written yet, and marks them as written.
func (h *HeartbeatMonitor) takeFailed() (ids []string) {
	if h.failing.Load() == 0 {
		return nil
	}

	h.mu.Lock()
	defer h.mu.Unlock()

	for id := range h.unrecorded {
		if len(ids) == maxRecorded {
			break
		}
		ids = append(ids, id)
		delete(h.unrecorded, id)
	}
	return ids
}

// returnFailed marks ids as not written after their beat failed, except controllers whose later heartbeat was committed.
func (h *HeartbeatMonitor) returnFailed(ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if _, isFailing := h.failed[id]; isFailing {
			h.unrecorded[id] = struct{}{}
		}
	}
}
