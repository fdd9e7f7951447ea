package watch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/service"
)

// changeSummary is the part of a change that tests compare.
type changeSummary struct {
	ID, Transition int64
	Controller     string
	Health         service.HealthStatus // empty: the controller left
}

func summarize(e service.WatchEvent) (all []changeSummary) {
	for _, c := range e.Changes {
		one := changeSummary{ID: e.ID, Controller: c.ControllerID}
		if c.Transition != nil {
			one.Transition = c.Transition.ID
		}
		if c.Controller != nil {
			one.Health = c.Controller.Health
		}
		all = append(all, one)
	}
	return all
}

func wantChanges(t *testing.T, e service.WatchEvent, want ...changeSummary) {
	t.Helper()
	if diff := cmp.Diff(want, summarize(e)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestHub_ChangesFollowSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		for i := range 1200 {
			h.source.change(int64(i+1), newController(fmt.Sprintf("mc-%04d", i), "eu", service.HealthPending))
		}

		w := h.watch(service.WatchQuery{})
		reason, id, fleet := w.snapshot()
		if reason != service.SnapshotStart || id != 1200 || len(fleet) != 1200 || fleet[0] != "mc-0000" || fleet[1199] != "mc-1199" {
			t.Errorf("snapshot = %s %d %d, want the fleet in order", reason, id, len(fleet))
		}

		began := time.Now()
		h.source.change(1201, newController("mc-0007", "eu", service.HealthHealthy))
		wantChanges(t, w.next(), changeSummary{1201, 1201, "mc-0007", service.HealthHealthy})
		if took := time.Since(began); took > minPollInterval {
			t.Errorf("a change was sent after %v, want at most %v", took, minPollInterval)
		}

		synctest.Wait()
		h.source.remove("mc-0007")
		h.source.record(1202, "mc-0007", "")
		wantChanges(t, w.next(), changeSummary{1202, 1202, "mc-0007", ""})

		h.source.put(newController("mc-0008", "eu", service.HealthPending))
		h.source.announce(service.Announcement{ControllerIDs: []string{"mc-0008"}})
		w.wantNothing(time.Second) // The controller has not changed.

		changed := newController("mc-0008", "eu", service.HealthPending)
		changed.MaxMeetings = 99
		h.source.put(changed)
		h.source.announce(service.Announcement{ControllerIDs: []string{"mc-0008"}})
		wantChanges(t, w.next(), changeSummary{1202, 0, "mc-0008", service.HealthPending})

		changed.MaxMeetings = 98
		h.source.put(changed) // without an announcement
		wantChanges(t, w.next(), changeSummary{1202, 0, "mc-0008", service.HealthPending})
	})
}

func TestHub_EachChangeHasLatestController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		h.source.put(newController("mc", "eu", service.HealthPending))
		h.source.put(newController("mc", "eu", service.HealthHealthy))
		h.source.record(1, "mc", service.HealthPending)
		h.source.record(2, "mc", service.HealthHealthy)
		var all []changeSummary
		for len(all) < 2 {
			all = append(all, summarize(w.next())...)
		}

		for i, c := range all {
			if c.Health != service.HealthHealthy || c.Transition != int64(i+1) {
				t.Errorf("change %d = %+v, want the transitions in order, with the latest controller", i, c)
			}
		}
	})
}

// TestHub_LateIDsAreSent: PostgreSQL assigns ids before their transactions commit.
func TestHub_LateIDsAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("a", "eu", service.HealthPending))
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		h.source.change(3, newController("b", "eu", service.HealthPending))
		wantChanges(t, w.next(), changeSummary{1, 3, "b", service.HealthPending}) // Transition 2 may still appear.

		synctest.Wait()
		h.source.change(2, newController("a", "eu", service.HealthHealthy))
		wantChanges(t, w.next(), changeSummary{3, 2, "a", service.HealthHealthy})

		h.source.change(6, newController("b", "eu", service.HealthHealthy))
		wantChanges(t, w.next(), changeSummary{3, 6, "b", service.HealthHealthy})
		w.wantNothing(service.MaxHistoryWriteTime + 2*defaultRefreshInterval)
		h.source.change(7, newController("b", "eu", service.HealthDegraded))
		wantChanges(t, w.next(), changeSummary{7, 7, "b", service.HealthDegraded})
	})
}

func TestSeenIDs_WatermarkWaitsForMissingIDs(t *testing.T) {
	now := time.Now()
	c := seenIDs{watermark: 5, highest: 5}
	for _, id := range []int64{9, 7, 6, 12} {
		if !c.add(service.Transition{ID: id}, now) || c.add(service.Transition{ID: id}, now) {
			t.Errorf("add(%d) is new, want that for the first time only", id)
		}
	}
	c.advance(now)
	if diff := cmp.Diff([]int64{11, 10, 8}, c.missing()); diff != "" || c.watermark != 7 || c.highest != 12 {
		t.Errorf("watermark %d, highest %d, missing (-want +got):\n%s", c.watermark, c.highest, diff)
	}
	c.advance(now.Add(service.MaxHistoryWriteTime + 1))
	if c.watermark != 12 || c.missing() != nil {
		t.Errorf("watermark %d, missing %v, want 12 and no missing ids", c.watermark, c.missing())
	}
}

func TestHub_LoadsOnRequestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("eu-1", "eu", service.HealthHealthy))
		h.source.change(2, newController("us-1", "us", service.HealthHealthy))
		withLoads := h.watch(service.WatchQuery{Loads: true})
		withoutLoads := h.watch(service.WatchQuery{})
		otherRegion := h.watch(service.WatchQuery{Loads: true, Region: "us"})
		for _, w := range []*watcher{withLoads, withoutLoads, otherRegion} {
			w.snapshot()
		}

		loaded := newController("eu-1", "eu", service.HealthHealthy)
		loaded.CurrentMeetings, loaded.LastHeartbeatAt = 4, time.Now()
		h.source.put(loaded)
		began := time.Now()
		e := withLoads.next()
		isLoad := len(e.Loads) == 1 && e.Loads[0].ControllerID == "eu-1" && e.Loads[0].CurrentMeetings == 4
		if took := time.Since(began); !isLoad || took > loadsRefreshInterval+minPollInterval {
			t.Errorf("after %v %+v, want the load within a second", took, e)
		}

		otherRegion.wantNothing(3 * time.Second)
		withoutLoads.wantNothing(3 * time.Second)
		loaded.CurrentMeetings = loaded.MaxMeetings
		h.source.put(loaded)
		wantChanges(t, withoutLoads.next(), changeSummary{2, 0, "eu-1", service.HealthHealthy}) // A full controller is more than load.
	})
}

func TestHub_PassedDrainDeadlineIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		draining := newController("mc", "eu", service.HealthDraining)
		draining.CurrentMeetings = 3
		draining.Drain = &service.Drain{Since: time.Now(), Deadline: time.Now().Add(10 * time.Second)}
		h.source.change(1, draining)
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		began := time.Now()
		e := w.next()
		wantChanges(t, e, changeSummary{1, 0, "mc", service.HealthDraining})
		if took := time.Since(began); took < 10*time.Second || took > 13*time.Second {
			t.Errorf("the change was sent after %v, want it just past the deadline", took)
		}

		if c := e.Changes[0].Controller; !c.IsPastDeadline() || c.IsDrained() {
			t.Errorf("controller = %+v, want its deadline passed and not drained, because meetings are left", c)
		}

		w.wantNothing(2 * time.Minute)
	})
}

func TestHub_RowDeletedByHandIsSentAfterReread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("a", "eu", service.HealthHealthy))
		h.source.change(2, newController("b", "eu", service.HealthHealthy))
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		h.source.remove("a")
		began := time.Now()
		wantChanges(t, w.next(), changeSummary{2, 0, "a", ""})
		if took := time.Since(began); took > rereadInterval+2*defaultRefreshInterval {
			t.Errorf("the removal was sent after %v, want at most %v", took, rereadInterval+2*defaultRefreshInterval)
		}
		w.wantNothing(2 * time.Minute)
	})
}

func TestHub_WatchOfRegionSendsItsControllersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("eu-1", "eu", service.HealthHealthy))
		h.source.change(2, newController("us-1", "us", service.HealthHealthy))
		eu, us := h.watch(service.WatchQuery{Region: "eu"}), h.watch(service.WatchQuery{Region: "us"})
		if _, _, fleet := eu.snapshot(); len(fleet) != 1 || fleet[0] != "eu-1" {
			t.Errorf("snapshot of eu = %v", fleet)
		}

		us.snapshot()

		// The controller moves with a transition, and then without one.
		h.source.change(3, newController("eu-1", "us", service.HealthPending))
		wantChanges(t, eu.next(), changeSummary{3, 3, "eu-1", ""})
		wantChanges(t, us.next(), changeSummary{3, 3, "eu-1", service.HealthPending})

		h.source.put(newController("eu-1", "eu", service.HealthPending))
		h.source.announce(service.Announcement{ControllerIDs: []string{"eu-1"}})
		wantChanges(t, us.next(), changeSummary{3, 0, "eu-1", ""})
		wantChanges(t, eu.next(), changeSummary{3, 0, "eu-1", service.HealthPending})

		h.source.change(4, newController("us-1", "us", service.HealthDegraded))
		wantChanges(t, us.next(), changeSummary{4, 4, "us-1", service.HealthDegraded})
		eu.wantNothing(time.Minute)
		if _, _, fleet := h.watch(service.WatchQuery{Region: "other"}).snapshot(); len(fleet) != 0 {
			t.Errorf("snapshot of another region = %v, want an empty one", fleet)
		}
	})
}

func TestHub_StoreOutageKeepsWatchesOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("mc", "eu", service.HealthHealthy))
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		h.source.fail(errDown)
		down := time.Now()
		for range 5 {
			if e := w.nextOrKeepAlive(); e.Snapshot != nil || e.Changes != nil || e.AsOf.After(down) || e.AsOf.IsZero() || e.ID != 1 {
				t.Errorf("Next() = %+v, want a keep-alive with the time before the outage", e)
			}
		}

		// A watch that resumes is served from memory.
		if changes, last := h.resumeAfter(0).readAvailable(); len(changes) == 0 || last != 1 {
			t.Errorf("resumed = %+v up to %d, want the known changes", changes, last)
		}

		if _, err := h.hub.Watch(t.Context(), service.WatchQuery{After: new(int64(2))}); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Watch(resumed after an unknown transition) = %v, want ErrUnavailable", err)
		}

		other := h.watch(service.WatchQuery{})
		other.snapshot()
		h.source.change(2, newController("mc", "eu", service.HealthDegraded))
		h.source.remove("mc")
		h.source.record(3, "mc", "")
		h.source.fail(nil)
		wantChanges(t, w.next(), changeSummary{3, 2, "mc", ""}, changeSummary{3, 3, "mc", ""})

		synctest.Wait()
		if h.logger.lines != 2 {
			t.Errorf("%d log lines, want one for the outage and one for its end", h.logger.lines)
		}

		before := w.nextOrKeepAlive().AsOf
		if now := w.nextOrKeepAlive().AsOf; !now.After(before) {
			t.Errorf("keep-alives have the times %v and %v, want ascending times", before, now)
		}
	})
}

func TestHub_WithoutWatchesDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		time.Sleep(time.Hour)
		if h.source.reads != 0 || h.source.listenCount != 0 {
			t.Errorf("%d reads and %d listeners before the first watch, want none", h.source.reads, h.source.listenCount)
		}

		w := h.watch(service.WatchQuery{})
		w.snapshot()
		w.watch.Close()
		w.watch.Close()
		time.Sleep(keepFleetFor + 2*defaultRefreshInterval)
		reads := h.source.readCount()
		time.Sleep(time.Hour)
		if got := h.source.readCount(); got != reads || h.source.listening != 0 {
			t.Errorf("%d reads and %d listeners after the last watch was closed, want none", got-reads, h.source.listening)
		}

		h.source.change(1, newController("mc", "eu", service.HealthHealthy))
		if _, _, fleet := h.watch(service.WatchQuery{}).snapshot(); len(fleet) != 1 {
			t.Errorf("snapshot = %v, want the present fleet", fleet)
		}
	})
}

func TestHub_ThousandWatchesReadStoreOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.change(1, newController("mc", "eu", service.HealthHealthy))
		h.watch(service.WatchQuery{}).snapshot()
		synctest.Wait()
		before := h.source.readCount()
		began := time.Now()
		all := make([]*watcher, 1000)
		for i := range all {
			all[i] = h.watch(service.WatchQuery{})
			all[i].snapshot()
		}

		// The watches take turns, so some time passes, in which the hub polls as for one watch. A poll has at most 5 reads: of updated
		// rows, and of the history before and after that with the controllers that are read by id.
		polls := int(time.Since(began) / defaultRefreshInterval)
		if got := h.source.readCount(); got > before+5*polls || h.source.listenCount != 1 || h.observer.watches != 1001 {
			t.Errorf("%d reads and %d listeners for %d watches, want the reads of one watch and one listener",
				got-before, h.source.listenCount, h.observer.watches)
		}
		h.source.change(2, newController("mc", "eu", service.HealthDegraded))
		encoded := 0
		for _, w := range all {
			e := w.next()
			wantChanges(t, e, changeSummary{2, 2, "mc", service.HealthDegraded})

			_, _ = e.EncodeAs("form", func(service.WatchEvent) ([]byte, error) { encoded++; return nil, nil })
		}
		if encoded != 1 {
			t.Errorf("an event was encoded %d times, want once for all watches", encoded)
		}
	})
}

func TestWatch_StoppedHubEndsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		w := h.watch(service.WatchQuery{})
		w.snapshot()
		time.AfterFunc(time.Second, h.stop)
		if _, err := w.watch.Next(t.Context()); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Next() = %v, want ErrUnavailable", err)
		}
		if _, err := h.hub.Watch(t.Context(), service.WatchQuery{}); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Watch() = %v, want ErrUnavailable", err)
		}
	})
}

func TestHub_RefusesWatchWithoutStoreOrAboveLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.source.fail(errDown)
		if _, err := h.hub.Watch(t.Context(), service.WatchQuery{}); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Watch() = %v, want ErrUnavailable", err)
		}

		h.source.fail(nil)
		h.watch(service.WatchQuery{}).snapshot()
		for range maxWatches - 1 {
			h.watch(service.WatchQuery{})
		}

		if _, err := h.hub.Watch(t.Context(), service.WatchQuery{}); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Watch() = %v, want ErrUnavailable", err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		notRunning := New(h.hub.cfg)
		if _, err := notRunning.Watch(ctx, service.WatchQuery{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch() = %v, want Canceled", err)
		}
	})
}
