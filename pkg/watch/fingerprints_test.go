package watch

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"darktower.example/global-controller/service"
)

// replaceHistory replaces the history after its first keep transitions, and adds the controllers of the others.
func (s *fakeSource) replaceHistory(keep int, others ...service.Transition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history[:keep:keep], others...)
	for _, t := range s.history[keep:] {
		s.controllers[t.ControllerID] = newController(t.ControllerID, "eu", service.HealthPending)
	}
}

func TestHub_ReplacedHistoryRestartsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("kept", "eu", service.HealthPending))
		h.source.change(2, newController("lost", "eu", service.HealthPending))
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		h.source.remove("lost")
		h.source.replaceHistory(1,
			service.Transition{ID: 2, ControllerID: "new", At: time.Now().Add(time.Hour)},
			service.Transition{ID: 3, ControllerID: "newer", At: time.Now()})
		if reason, id, fleet := w.snapshot(); reason != service.SnapshotGone || id != 3 || len(fleet) != 3 {
			t.Errorf("snapshot = %s %d %v, want the new fleet", reason, id, fleet)
		}
	})
}

// TestHub_ReplacedHistoryRefusesNewWatch: a watch whose poll finds the replacement fails with an error of its own.
func TestHub_ReplacedHistoryRefusesNewWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("lost", "eu", service.HealthPending))
		h.watch(service.WatchQuery{}).snapshot()
		synctest.Wait()

		h.source.replaceHistory(0, service.Transition{ID: 1, ControllerID: "new", At: time.Now().Add(time.Hour)})
		_, err := h.hub.Watch(t.Context(), service.WatchQuery{After: new(int64(9))})
		if !errors.Is(err, service.ErrUnavailable) || !strings.Contains(err.Error(), "the fleet is being read again") {
			t.Errorf("Watch() = %v, want ErrUnavailable, because the fleet is being read again", err)
		}
	})
}

func TestHub_CursorOfOtherHistoryStartsWithSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("kept", "eu", service.HealthPending))
		h.source.change(2, newController("new", "eu", service.HealthPending))
		h.source.change(3, newController("newer", "eu", service.HealthPending))
		other := h.watch(service.WatchQuery{}) // It keeps the fleet in memory.
		other.snapshot()
		time.Sleep(time.Second)

		two := int64(2)
		lost := h.watch(service.WatchQuery{After: &two, Fingerprint: "0123456789ab"})
		if reason, id, fleet := lost.snapshot(); reason != service.SnapshotGone || id != 3 || len(fleet) != 3 {
			t.Errorf("snapshot = %s %d %v, want the fleet, because the cursor belongs to another history", reason, id, fleet)
		}
		known := h.source.history[1].Cursor()
		resumed := h.watch(service.WatchQuery{After: &two, Fingerprint: known.Fingerprint})
		s := resumed.watch.(*watch).nextStep(time.Now())
		if s.kind != sendEvent || s.event.Snapshot != nil || len(s.event.Changes) == 0 {
			t.Errorf("resumed with %+v, want changes, because the cursor belongs to this history", s.event)
		}
	})
}

// TestHub_EventsCarryCursors checks every kind of event.
func TestHub_EventsCarryCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("a", "eu", service.HealthPending))
		w := h.watch(service.WatchQuery{Loads: true})
		want := func(what string, e service.WatchEvent, transition int) {
			t.Helper()
			if want := h.source.history[transition].Cursor(); e.Cursor() != want {
				t.Errorf("%s has the cursor %v, want %v", what, e.Cursor(), want)
			}
		}

		want("a snapshot", w.next(), 0)
		h.source.change(2, newController("a", "eu", service.HealthHealthy))
		want("a change", w.next(), 1)
		keepAlive, err := w.watch.Next(t.Context())
		if err != nil || keepAlive.Snapshot != nil || keepAlive.Changes != nil || keepAlive.Loads != nil {
			t.Fatalf("Next() = %+v, %v, want a keep-alive", keepAlive, err)
		}

		want("a keep-alive", keepAlive, 1)
	})
}

// TestSeenIDs_MissingIDTimeoutIgnoresStoreClock: the timeout of missing ids does not depend on the store's clock.
func TestSeenIDs_MissingIDTimeoutIgnoresStoreClock(t *testing.T) {
	now := time.Now()
	c := seenIDs{watermark: 1, highest: 1}
	c.add(service.Transition{ID: 3, At: now.Add(2 * time.Hour)}, now)
	c.advance(now)
	if c.watermark != 1 {
		t.Errorf("watermark = %d, want 1, because transition 2 may still appear", c.watermark)
	}
	c.advance(now.Add(service.MaxHistoryWriteTime + 1))
	if c.watermark != 3 {
		t.Errorf("watermark = %d, want 3", c.watermark)
	}
}

func TestFingerprints_FullSetKeepsLatest(t *testing.T) {
	p := newFingerprints(nil)
	for id := int64(1); id <= maxFingerprints+10; id++ {
		p.add(service.Transition{ID: id})
		p.add(service.Transition{ID: id})
	}
	if p.cursorAfter(10).Fingerprint != "" || p.cursorAfter(11).Fingerprint == "" || len(p.byID) != maxFingerprints {
		t.Errorf("%d fingerprints are kept, want the last %d", len(p.byID), maxFingerprints)
	}
}
