package watch

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"darktower.example/global-controller/service"
)

// readAvailable reads the changes that can be sent without waiting, and returns the id after the last of them.
func (w *watcher) readAvailable() (changes []changeSummary, last int64) {
	w.t.Helper()
	for {
		s := w.watch.(*watch).nextStep(time.Now())
		if s.kind == waitForUpdate {
			return changes, last
		}
		e := s.event
		if e.Snapshot != nil {
			w.t.Fatalf("Next() = %+v, want changes", e)
		}
		changes = append(changes, summarize(e)...)
		if e.ID != 0 {
			last = e.ID
		}
	}
}

func transitionIDs(changes []changeSummary) (ids []int64) {
	for _, c := range changes {
		if c.Transition != 0 {
			ids = append(ids, c.Transition)
		}
	}
	return ids
}

func TestWatch_ResumesWithMissedChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("a", "eu", service.HealthPending))
		h.source.change(2, newController("b", "us", service.HealthPending))
		other := h.watch(service.WatchQuery{}) // It keeps the fleet in memory.
		other.snapshot()

		// The watch resumes from the history. The hub has not seen what else has changed since, so the whole fleet follows.
		h.source.change(3, newController("a", "eu", service.HealthHealthy))
		other.next()
		time.Sleep(2 * shareTime)
		w := h.resumeAfter(2)
		changes, last := w.readAvailable()
		want := []changeSummary{
			{0, 3, "a", service.HealthHealthy},
			{3, 0, "a", service.HealthHealthy},
			{3, 0, "b", service.HealthPending},
		}
		if !slices.Equal(changes, want) || last != 3 {
			t.Errorf("changes = %+v up to %d, want %+v up to 3", changes, last, want)
		}
		h.source.change(4, newController("a", "eu", service.HealthDegraded))
		wantChanges(t, w.next(), changeSummary{4, 4, "a", service.HealthDegraded})
		other.next()

		// The watch resumes from the log, without a read of the store. Each change has the latest controller.
		time.Sleep(2 * resumeOverlap)
		h.source.change(5, newController("a", "eu", service.HealthHealthy))
		other.next()
		h.source.change(6, newController("a", "eu", service.HealthDegraded))
		other.next()
		moved := newController("b", "eu", service.HealthPending)
		h.source.put(moved)
		h.source.announce(service.Announcement{ControllerIDs: []string{"b"}})
		other.next()
		reads := h.source.readCount()
		changes, last = h.resumeAfter(5).readAvailable()
		want = []changeSummary{
			{6, 5, "a", service.HealthDegraded},
			{6, 6, "a", service.HealthDegraded},
			{6, 0, "b", service.HealthPending},
		}
		if !slices.Equal(changes, want) || last != 6 {
			t.Errorf("changes = %+v up to %d, want %+v up to 6", changes, last, want)
		}

		five := int64(5)
		inRegion := h.watch(service.WatchQuery{After: &five, Region: "us"})
		if changes, _ := inRegion.readAvailable(); !slices.Equal(changes, []changeSummary{{6, 0, "b", ""}}) {
			t.Errorf("changes in us = %+v, want the removal of b", changes)
		}

		if got := h.source.readCount(); got != reads {
			t.Errorf("%d reads of the store, want none", got-reads)
		}

		// The watch was at another server that has seen more transitions.
		h.source.appendUnannounced(7, "a")
		if changes, last := h.resumeAfter(7).readAvailable(); len(changes) == 0 || last != 7 {
			t.Errorf("changes = %+v up to %d, want some, because the other server may have sent less", changes, last)
		}
	})
}

func TestWatch_ResumeWithoutHistorySendsSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		for i := range 50 {
			h.source.change(int64(100+i), newController(fmt.Sprintf("mc-%d", i%7), "eu", service.HealthPending))
		}
		time.Sleep(time.Minute)

		after120 := int64(120)
		for _, w := range []*watcher{
			h.resumeAfter(98),
			h.resumeAfter(1),
			h.resumeAfter(150),
			h.watch(service.WatchQuery{After: &after120, Region: "eu"}),
		} {
			if reason, id, fleet := w.snapshot(); reason != service.SnapshotGone || id != 149 || len(fleet) != 7 {
				t.Errorf("snapshot = %s %d %v, want the fleet, because the changes between are not available", reason, id, fleet)
			}
		}

		if changes, _ := h.resumeAfter(99).readAvailable(); len(transitionIDs(changes)) != 50 {
			t.Errorf("%d changes after the one before the oldest, want all 50", len(transitionIDs(changes)))
		}

		for i := range maxReplay {
			h.source.appendUnannounced(int64(150+i), "mc-1")
		}

		time.Sleep(2 * defaultRefreshInterval) // Resumed watches are served from memory.
		if reason, _, _ := h.resumeAfter(148).snapshot(); reason != service.SnapshotGone {
			t.Errorf("the snapshot has the reason %q, want gone, because there are too many changes", reason)
		}
	})
}

func TestHub_ShorterHistoryRestartsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("a", "eu", service.HealthPending))
		h.source.change(2, newController("b", "eu", service.HealthPending))
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		h.source.mu.Lock()
		h.source.history = h.source.history[:1] // A backup was restored.
		delete(h.source.controllers, "b")
		h.source.mu.Unlock()
		if reason, id, fleet := w.snapshot(); reason != service.SnapshotGone || id != 1 || len(fleet) != 1 {
			t.Errorf("snapshot = %s %d %v, want the new fleet", reason, id, fleet)
		}
	})
}

func TestWatch_LaggedRestartsWithSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		const fleet = 100
		id := int64(0)
		changeFleet := func() {
			for range maxLogChanges/fleet + 1 {
				for i := range fleet {
					id++
					h.source.put(newController(fmt.Sprintf("mc-%02d", i), "eu", service.HealthStatuses()[id%4]))
					h.source.appendUnannounced(id, fmt.Sprintf("mc-%02d", i))
				}
				h.source.announce(service.Announcement{})
				time.Sleep(minPollInterval)
				synctest.Wait()
			}
		}

		h.source.put(newController("mc-00", "eu", service.HealthPending))
		slow, neverRead := h.watch(service.WatchQuery{}), h.watch(service.WatchQuery{})
		slow.snapshot()
		began := time.Now()
		changeFleet()
		slow.watch.(*watch).snapshotBeganAt = began // as if its last snapshot was not long ago
		if kept := h.hub.view.Load().log.changes; kept > maxLogChanges {
			t.Errorf("the log has %d changes, want at most %d", kept, maxLogChanges)
		}

		for snapshots := range 3 {
			reason, last, all := slow.snapshot()
			if reason != service.SnapshotLagged || last != id || len(all) != fleet {
				t.Errorf("snapshot = %s %d %d, want the present fleet", reason, last, len(all))
			}
			if took := time.Since(began); took < time.Duration(snapshots)*lagSnapshotInterval {
				t.Errorf("%d snapshots within %v, want %v between them", snapshots+1, took, lagSnapshotInterval)
			}
			changeFleet()
		}
		if h.observer.lagged != 3 {
			t.Errorf("lagged %d times, want 3", h.observer.lagged)
		}

		// A watcher that has not read the first snapshot gets it first, and then the present fleet.
		if reason, _, all := neverRead.snapshot(); reason != service.SnapshotStart || len(all) != 1 {
			t.Errorf("snapshot = %s %d, want the snapshot of the start", reason, len(all))
		}
		if reason, _, all := neverRead.snapshot(); reason != service.SnapshotLagged || len(all) != fleet {
			t.Errorf("snapshot = %s %d, want the present fleet", reason, len(all))
		}
	})
}

func TestHub_ReconnectFindsUnannouncedChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("a", "eu", service.HealthPending))
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		synctest.Wait()

		changed := newController("a", "eu", service.HealthPending)
		changed.MaxMeetings = 5
		h.source.put(changed)
		began := time.Now()
		h.source.announce(service.Announcement{Everything: true, Reconnected: true})
		wantChanges(t, w.next(), changeSummary{1, 0, "a", service.HealthPending})
		if took := time.Since(began); took > 2*minPollInterval || h.observer.reconnects != 1 {
			t.Errorf("sent after %v with %d reconnects, want at most %v and one", took, h.observer.reconnects, 2*minPollInterval)
		}
	})
}
