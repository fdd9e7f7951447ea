package health

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxFailing bounds how many controllers are remembered whose heartbeats failed.
	maxFailing = 1 << 16
	// maxRecorded bounds how many of them one beat writes.
	maxRecorded = 5000
)

// Heartbeats judges by the fleet whether this replica stores the heartbeats that it receives. While nothing fails it only
// counts. Once something has failed it compares the controllers whose latest heartbeat could not be stored with the
// heartbeats that were: one locked row does not end the service, and one lucky commit does not restore it.
type Heartbeats struct {
	// now is the clock.
	now func() time.Time
	// window is how far back commits count, and memory how long a failure counts that no later heartbeat of the same
	// controller replaces.
	window, memory time.Duration

	commits     atomic.Int64
	failing     atomic.Int64 // len(failed)
	outnumbered atomic.Bool

	mu     sync.Mutex
	failed map[string]time.Time
	// unrecorded are those of failed that no beat has written yet.
	unrecorded map[string]struct{}
	samples    []sample // The oldest first; all but one are younger than the window.
}

// sample is how many heartbeats had been committed at a time.
type sample struct {
	at      time.Time
	commits int64
}

// NewHeartbeats returns a judge of a fleet whose controllers send a heartbeat each interval. A nil clock stands for [time.Now].
func NewHeartbeats(interval time.Duration, now func() time.Time) *Heartbeats {
	if now == nil {
		now = time.Now
	}
	// A fourth more than an interval: every living controller is in the window, even one that is a little late. A controller
	// that keeps failing comes back within two intervals.
	return &Heartbeats{
		now: now, window: interval * 5 / 4, memory: 2 * interval, failed: make(map[string]time.Time), unrecorded: make(map[string]struct{}),
	}
}

// ObserveCommit notes that a controller's heartbeat was stored.
func (h *Heartbeats) ObserveCommit(controllerID string) {
	h.commits.Add(1)
	if h.failing.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgetLocked(controllerID)
}

// ObserveFailure records that an authenticated controller's heartbeat could not be stored for a server-side reason.
func (h *Heartbeats) ObserveFailure(controllerID string) { h.add(controllerID, true) }

// ObserveUnjudged records a heartbeat that was refused because this replica cannot verify its token for a server-side
// reason. It counts as failed, but excuses no controller, because the id is not authenticated.
func (h *Heartbeats) ObserveUnjudged(controllerID string) { h.add(controllerID, false) }

func (h *Heartbeats) add(controllerID string, isExcused bool) {
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

func (h *Heartbeats) forgetLocked(controllerID string) {
	delete(h.failed, controllerID)
	delete(h.unrecorded, controllerID)
	h.failing.Store(int64(len(h.failed)))
}

// Judge compares the failed heartbeats with those that were committed recently. The checker calls it before each beat.
func (h *Heartbeats) Judge() {
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
		case now.Sub(at) <= h.memory:
			failing++
		case !isUnrecorded: // What no beat has written yet is kept for the next one.
			h.forgetLocked(id)
		}
	}
	h.outnumbered.Store(failing > committed)
}

// State returns what the last judgement was: [StateOK] unless more controllers' latest heartbeats failed than heartbeats
// were committed.
func (h *Heartbeats) State() string {
	if h.outnumbered.Load() {
		return "failing"
	}
	return StateOK
}

// takeFailed returns controllers whose failure no beat has written yet.
func (h *Heartbeats) takeFailed() (ids []string) {
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

// returnFailed restores ids that could not be written, except those of which a later heartbeat was stored.
func (h *Heartbeats) returnFailed(ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if _, isFailing := h.failed[id]; isFailing {
			h.unrecorded[id] = struct{}{}
		}
	}
}
