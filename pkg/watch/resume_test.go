package watch

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"darktower.example/global-controller/service"
)

// all reads the changes that come within a moment.
func (f *watcher) available() (changes []changeSummary, last int64) {
	f.t.Helper()
	for {
		e, news, _ := f.watch.(*watch).take(time.Now())
		if news != nil {
			return changes, last
		}
		if e.Snapshot != nil {
			f.t.Fatalf("Next() = %+v, want changes", e)
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

func TestWatch_Resumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("a", "eu", service.HealthPending))
		b.source.change(2, controller("b", "us", service.HealthPending))
		keeper := b.watch(service.WatchQuery{})
		keeper.snapshot()
		// From the history: the hub has not been there since, so everything may have changed.
		b.source.change(3, controller("a", "eu", service.HealthHealthy))
		keeper.next()
		time.Sleep(2 * shareTime)
		f := b.watchAfter(2)
		changes, last := f.available()
		if want := []changeSummary{{0, 3, "a", service.HealthHealthy}, {3, 0, "a", service.HealthHealthy}, {3, 0, "b", service.HealthPending}}; !slices.Equal(changes, want) || last != 3 {
			t.Errorf("changes = %+v up to %d, want %+v", changes, last, want)
		}
		b.source.change(4, controller("a", "eu", service.HealthDegraded))
		wantChanges(t, f.next(), changeSummary{4, 4, "a", service.HealthDegraded})
		keeper.next()
		// From what the hub remembers: without a question to the store, and each controller as it is now.
		time.Sleep(2 * resumeOverlap)
		b.source.change(5, controller("a", "eu", service.HealthHealthy))
		keeper.next()
		b.source.change(6, controller("a", "eu", service.HealthDegraded))
		keeper.next()
		moved := controller("b", "eu", service.HealthPending)
		b.source.put(moved)
		b.source.announce(service.Announcement{ControllerIDs: []string{"b"}})
		keeper.next()
		asked := b.source.readCount()
		changes, last = b.watchAfter(5).available()
		if want := []changeSummary{{6, 5, "a", service.HealthDegraded}, {6, 6, "a", service.HealthDegraded}, {6, 0, "b", service.HealthPending}}; !slices.Equal(changes, want) || last != 6 {
			t.Errorf("changes = %+v up to %d, want %+v", changes, last, want)
		}
		five := int64(5)
		if changes, _ := b.watch(service.WatchQuery{After: &five, Region: "us"}).available(); !slices.Equal(changes, []changeSummary{{6, 0, "b", ""}}) {
			t.Errorf("changes in us = %+v, want that b has left", changes)
		}
		if got := b.source.readCount(); got != asked {
			t.Errorf("%d questions to the store, want none", got-asked)
		}
		// Another server may be ahead.
		b.source.appendUnannounced(7, "a")
		if changes, last := b.watchAfter(7).available(); len(changes) == 0 || last != 7 {
			t.Errorf("changes = %+v up to %d, want some, as it is not known what the other has told", changes, last)
		}
	})
}

func TestWatch_ResumeWithoutHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		for i := range 50 {
			b.source.change(int64(100+i), controller(fmt.Sprintf("mc-%d", i%7), "eu", service.HealthPending))
		}
		time.Sleep(time.Minute)
		two := int64(120)
		for _, f := range []*watcher{b.watchAfter(98), b.watchAfter(1), b.watchAfter(150), b.watch(service.WatchQuery{After: &two, Region: "eu"})} {
			if reason, id, fleet := f.snapshot(); reason != service.SnapshotGone || id != 149 || len(fleet) != 7 {
				t.Errorf("snapshot = %s %d %v, want the fleet because what came between is gone", reason, id, fleet)
			}
		}
		if changes, _ := b.watchAfter(99).available(); len(transitionIDs(changes)) != 50 {
			t.Errorf("%d changes after the one before the oldest, want all 50", len(transitionIDs(changes)))
		}
		for i := range maxReplay {
			b.source.appendUnannounced(int64(150+i), "mc-1")
		}
		time.Sleep(2 * defaultRefreshInterval) // Resumed watches are served from what the hub has read.
		if reason, _, _ := b.watchAfter(148).snapshot(); reason != service.SnapshotGone {
			t.Errorf("a snapshot because of %q, want that too much was missed", reason)
		}
	})
}

func TestHub_OtherHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("a", "eu", service.HealthPending))
		b.source.change(2, controller("b", "eu", service.HealthPending))
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		b.source.mu.Lock()
		b.source.history = b.source.history[:1] // A backup was restored.
		delete(b.source.controllers, "b")
		b.source.mu.Unlock()
		if reason, id, fleet := f.snapshot(); reason != service.SnapshotGone || id != 1 || len(fleet) != 1 {
			t.Errorf("snapshot = %s %d %v, want what there is now", reason, id, fleet)
		}
	})
}

func TestWatch_Lagged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		const fleet = 100
		id := int64(0)
		churn := func() {
			for range maxLogChanges/fleet + 1 {
				for i := range fleet {
					id++
					b.source.put(controller(fmt.Sprintf("mc-%02d", i), "eu", service.HealthStatuses()[id%4]))
					b.source.appendUnannounced(id, fmt.Sprintf("mc-%02d", i))
				}
				b.source.announce(service.Announcement{})
				time.Sleep(minPollInterval)
				synctest.Wait()
			}
		}
		b.source.put(controller("mc-00", "eu", service.HealthPending))
		slow, asleep := b.watch(service.WatchQuery{}), b.watch(service.WatchQuery{})
		slow.snapshot()
		began := time.Now()
		churn()
		slow.watch.(*watch).snapshotBeganAt = began // Its last snapshot is not long ago.
		if kept := b.hub.view.Load().log.changes; kept > maxLogChanges {
			t.Errorf("%d entries are kept, want no more than %d", kept, maxLogChanges)
		}
		for snapshots := range 3 {
			reason, last, all := slow.snapshot()
			if reason != service.SnapshotLagged || last != id || len(all) != fleet {
				t.Errorf("snapshot = %s %d %d, want the fleet as it is now", reason, last, len(all))
			}
			if took := time.Since(began); took < time.Duration(snapshots)*lagSnapshotInterval {
				t.Errorf("%d snapshots within %v, want them %v apart", snapshots+1, took, lagSnapshotInterval)
			}
			churn()
		}
		if b.observer.lagged != 3 {
			t.Errorf("lagged %d times, want 3", b.observer.lagged)
		}
		// One who has not even read the first snapshot gets that, and then the fleet as it is.
		if reason, _, all := asleep.snapshot(); reason != service.SnapshotStart || len(all) != 1 {
			t.Errorf("snapshot = %s %d, want that of the start", reason, len(all))
		}
		if reason, _, all := asleep.snapshot(); reason != service.SnapshotLagged || len(all) != fleet {
			t.Errorf("snapshot = %s %d, want the fleet as it is now", reason, len(all))
		}
	})
}

func TestHub_Reconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("a", "eu", service.HealthPending))
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		synctest.Wait()
		changed := controller("a", "eu", service.HealthPending)
		changed.MaxMeetings = 5
		b.source.put(changed)
		began := time.Now()
		b.source.announce(service.Announcement{Everything: true, Reconnected: true})
		wantChanges(t, f.next(), changeSummary{1, 0, "a", service.HealthPending})
		if took := time.Since(began); took > 2*minPollInterval || b.observer.reconnects != 1 {
			t.Errorf("told after %v, %d reconnects counted, want it at once, and one", took, b.observer.reconnects)
		}
	})
}
