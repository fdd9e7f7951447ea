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

// told is what a change says, in short.
type changeSummary struct {
	ID, Transition int64
	Controller     string
	Health         service.HealthStatus // empty: it left
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

func TestHub_SnapshotThenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		for i := range 1200 {
			b.source.change(int64(i+1), controller(fmt.Sprintf("mc-%04d", i), "eu", service.HealthPending))
		}
		f := b.watch(service.WatchQuery{})
		reason, id, fleet := f.snapshot()
		if reason != service.SnapshotStart || id != 1200 || len(fleet) != 1200 || fleet[0] != "mc-0000" || fleet[1199] != "mc-1199" {
			t.Errorf("snapshot = %s %d %d, want the fleet in order", reason, id, len(fleet))
		}
		began := time.Now()
		b.source.change(1201, controller("mc-0007", "eu", service.HealthHealthy))
		wantChanges(t, f.next(), changeSummary{1201, 1201, "mc-0007", service.HealthHealthy})
		if took := time.Since(began); took > minPollInterval {
			t.Errorf("a change was told after %v, want at once", took)
		}
		synctest.Wait()
		b.source.remove("mc-0007")
		b.source.record(1202, "mc-0007", "")
		wantChanges(t, f.next(), changeSummary{1202, 1202, "mc-0007", ""})
		b.source.put(controller("mc-0008", "eu", service.HealthPending))
		b.source.announce(service.Announcement{ControllerIDs: []string{"mc-0008"}})
		f.wantNothing(time.Second) // It is as it was.
		changed := controller("mc-0008", "eu", service.HealthPending)
		changed.MaxMeetings = 99
		b.source.put(changed)
		b.source.announce(service.Announcement{ControllerIDs: []string{"mc-0008"}})
		wantChanges(t, f.next(), changeSummary{1202, 0, "mc-0008", service.HealthPending})
		changed.MaxMeetings = 98
		b.source.put(changed) // Whoever should have announced it is gone.
		wantChanges(t, f.next(), changeSummary{1202, 0, "mc-0008", service.HealthPending})
	})
}

func TestHub_ChangesShowLatestController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		b.source.put(controller("mc", "eu", service.HealthPending))
		b.source.put(controller("mc", "eu", service.HealthHealthy))
		b.source.record(1, "mc", service.HealthPending)
		b.source.record(2, "mc", service.HealthHealthy)
		var all []changeSummary
		for len(all) < 2 {
			all = append(all, summarize(f.next())...)
		}
		for i, c := range all {
			if c.Health != service.HealthHealthy || c.Transition != int64(i+1) {
				t.Errorf("change %d = %+v, want it in order, with the controller as it is now", i, c)
			}
		}
	})
}

// TestIDsThatAppearLate: PostgreSQL gives ids out before their transactions commit.
func TestHub_LateIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("a", "eu", service.HealthPending))
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		b.source.change(3, controller("b", "eu", service.HealthPending))
		wantChanges(t, f.next(), changeSummary{1, 3, "b", service.HealthPending}) // 2 may yet come.
		synctest.Wait()
		b.source.change(2, controller("a", "eu", service.HealthHealthy))
		wantChanges(t, f.next(), changeSummary{3, 2, "a", service.HealthHealthy})
		b.source.change(6, controller("b", "eu", service.HealthHealthy))
		wantChanges(t, f.next(), changeSummary{3, 6, "b", service.HealthHealthy})
		f.wantNothing(gapTimeout + 2*defaultRefreshInterval)
		b.source.change(7, controller("b", "eu", service.HealthDegraded))
		wantChanges(t, f.next(), changeSummary{7, 7, "b", service.HealthDegraded})
	})
}

func TestCursor_WatermarkAndMissing(t *testing.T) {
	now := time.Now()
	c := cursor{watermark: 5, highest: 5}
	for _, id := range []int64{9, 7, 6, 12} {
		if !c.add(service.Transition{ID: id}, now) || c.add(service.Transition{ID: id}, now) {
			t.Errorf("add(%d) is not new the first time only", id)
		}
	}
	c.advance(now)
	if diff := cmp.Diff([]int64{11, 10, 8}, c.missing()); diff != "" || c.watermark != 7 || c.highest != 12 {
		t.Errorf("watermark %d, highest %d, missing (-want +got):\n%s", c.watermark, c.highest, diff)
	}
	c.advance(now.Add(gapTimeout + 1))
	if c.watermark != 12 || c.missing() != nil {
		t.Errorf("watermark %d, missing %v, want all settled", c.watermark, c.missing())
	}
}

func TestHub_LoadsOnRequestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("eu-1", "eu", service.HealthHealthy))
		b.source.change(2, controller("us-1", "us", service.HealthHealthy))
		with, without, elsewhere := b.watch(service.WatchQuery{Loads: true}), b.watch(service.WatchQuery{}), b.watch(service.WatchQuery{Loads: true, Region: "us"})
		for _, f := range []*watcher{with, without, elsewhere} {
			f.snapshot()
		}
		loaded := controller("eu-1", "eu", service.HealthHealthy)
		loaded.CurrentMeetings, loaded.LastHeartbeatAt = 4, time.Now()
		b.source.put(loaded)
		began := time.Now()
		e := with.next()
		if len(e.Loads) != 1 || e.Loads[0].ControllerID != "eu-1" || e.Loads[0].CurrentMeetings != 4 || time.Since(began) > loadsRefreshInterval+minPollInterval {
			t.Errorf("after %v %+v, want the load within a second", time.Since(began), e)
		}
		elsewhere.wantNothing(3 * time.Second)
		without.wantNothing(3 * time.Second)
		loaded.CurrentMeetings = loaded.MaxMeetings
		b.source.put(loaded)
		wantChanges(t, without.next(), changeSummary{2, 0, "eu-1", service.HealthHealthy}) // It is full, which is more than load.
	})
}

func TestHub_DrainDeadlinePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		draining := controller("mc", "eu", service.HealthDraining)
		draining.CurrentMeetings = 3
		draining.Drain = &service.Drain{Since: time.Now(), Deadline: time.Now().Add(10 * time.Second)}
		b.source.change(1, draining)
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		began := time.Now()
		e := f.next()
		wantChanges(t, e, changeSummary{1, 0, "mc", service.HealthDraining})
		if took := time.Since(began); took < 10*time.Second || took > 13*time.Second || !e.Changes[0].Controller.IsPastDeadline() || e.Changes[0].Controller.IsDrained() {
			t.Errorf("after %v = %+v, want it just past the deadline, and not drained: meetings are left", took, e.Changes[0].Controller)
		}
		f.wantNothing(2 * time.Minute)
	})
}

func TestHub_RowDeletedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("a", "eu", service.HealthHealthy))
		b.source.change(2, controller("b", "eu", service.HealthHealthy))
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		b.source.remove("a")
		began := time.Now()
		wantChanges(t, f.next(), changeSummary{2, 0, "a", ""})
		if took := time.Since(began); took > rereadInterval+2*defaultRefreshInterval {
			t.Errorf("it was missed after %v", took)
		}
		f.wantNothing(2 * time.Minute)
	})
}

func TestHub_Region(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("eu-1", "eu", service.HealthHealthy))
		b.source.change(2, controller("us-1", "us", service.HealthHealthy))
		eu, us := b.watch(service.WatchQuery{Region: "eu"}), b.watch(service.WatchQuery{Region: "us"})
		if _, _, fleet := eu.snapshot(); len(fleet) != 1 || fleet[0] != "eu-1" {
			t.Errorf("snapshot of eu = %v", fleet)
		}
		us.snapshot()
		// It moves, once with a change of state and once without.
		b.source.change(3, controller("eu-1", "us", service.HealthPending))
		wantChanges(t, eu.next(), changeSummary{3, 3, "eu-1", ""})
		wantChanges(t, us.next(), changeSummary{3, 3, "eu-1", service.HealthPending})
		b.source.put(controller("eu-1", "eu", service.HealthPending))
		b.source.announce(service.Announcement{ControllerIDs: []string{"eu-1"}})
		wantChanges(t, us.next(), changeSummary{3, 0, "eu-1", ""})
		wantChanges(t, eu.next(), changeSummary{3, 0, "eu-1", service.HealthPending})
		b.source.change(4, controller("us-1", "us", service.HealthDegraded))
		wantChanges(t, us.next(), changeSummary{4, 4, "us-1", service.HealthDegraded})
		eu.wantNothing(time.Minute)
		if _, _, fleet := b.watch(service.WatchQuery{Region: "nowhere"}).snapshot(); len(fleet) != 0 {
			t.Errorf("snapshot of nowhere = %v, want an empty one", fleet)
		}
	})
}

func TestHub_StoreOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("mc", "eu", service.HealthHealthy))
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		b.source.fail(errDown)
		down := time.Now()
		for range 5 {
			if e := f.nextOrBeat(); e.Snapshot != nil || e.Changes != nil || e.AsOf.After(down) || e.AsOf.IsZero() || e.ID != 1 {
				t.Errorf("Next() = %+v, want a beat of the time before the outage", e)
			}
		}
		// What is known is shown, to a watch that resumes as well: it is served from memory.
		if changes, last := b.watchAfter(0).available(); len(changes) == 0 || last != 1 {
			t.Errorf("resumed = %+v up to %d, want what is known", changes, last)
		}
		if _, err := b.hub.Watch(t.Context(), service.WatchQuery{After: new(int64(2))}); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Watch(resumed behind what is known) = %v, want ErrUnavailable", err)
		}
		other := b.watch(service.WatchQuery{})
		other.snapshot()
		b.source.change(2, controller("mc", "eu", service.HealthDegraded))
		b.source.remove("mc")
		b.source.record(3, "mc", "")
		b.source.fail(nil)
		wantChanges(t, f.next(), changeSummary{3, 2, "mc", ""}, changeSummary{3, 3, "mc", ""})
		synctest.Wait()
		if b.logger.lines != 2 {
			t.Errorf("%d lines were logged, want one for the outage and one for its end", b.logger.lines)
		}
		before := f.nextOrBeat().AsOf
		if now := f.nextOrBeat().AsOf; !now.After(before) {
			t.Errorf("beats show %v and %v, want the time to go on", before, now)
		}
	})
}

func TestHub_NoWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		time.Sleep(time.Hour)
		if b.source.reads != 0 || b.source.listenCount != 0 {
			t.Errorf("%d questions and %d listeners before anybody watched, want none", b.source.reads, b.source.listenCount)
		}
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		f.watch.Close()
		f.watch.Close()
		time.Sleep(keepFleetFor + 2*defaultRefreshInterval)
		asked := b.source.readCount()
		time.Sleep(time.Hour)
		if got := b.source.readCount(); got != asked || b.source.listening != 0 {
			t.Errorf("%d questions and %d listeners after the last reader left, want none", got-asked, b.source.listening)
		}
		b.source.change(1, controller("mc", "eu", service.HealthHealthy))
		if _, _, fleet := b.watch(service.WatchQuery{}).snapshot(); len(fleet) != 1 {
			t.Errorf("snapshot = %v, want the fleet as it is", fleet)
		}
	})
}

func TestHub_ThousandWatchesReadStoreOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("mc", "eu", service.HealthHealthy))
		b.watch(service.WatchQuery{}).snapshot()
		synctest.Wait()
		before := b.source.readCount()
		began := time.Now()
		all := make([]*watcher, 1000)
		for i := range all {
			all[i] = b.watch(service.WatchQuery{})
			all[i].snapshot()
		}
		// They take turns, so some time passes, in which the store is looked at as for one: what was updated, and what was written to the
		// history before and after that, with the controllers that are named.
		rounds := int(time.Since(began) / defaultRefreshInterval)
		if got := b.source.readCount(); got > before+5*rounds || b.source.listenCount != 1 || b.observer.watching != 1001 {
			t.Errorf("%d questions, %d listeners for %d readers, want none and one", got-before, b.source.listenCount, b.observer.watching)
		}
		b.source.change(2, controller("mc", "eu", service.HealthDegraded))
		encoded := 0
		for _, f := range all {
			e := f.next()
			wantChanges(t, e, changeSummary{2, 2, "mc", service.HealthDegraded})
			_, _ = e.Encoded("form", func(service.WatchEvent) ([]byte, error) { encoded++; return nil, nil })
		}
		if encoded != 1 {
			t.Errorf("an event was encoded %d times, want once for all", encoded)
		}
	})
}

func TestWatch_EndsWithServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		time.AfterFunc(time.Second, b.stop)
		if _, err := f.watch.Next(t.Context()); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Next() = %v, want ErrUnavailable", err)
		}
		if _, err := b.hub.Watch(t.Context(), service.WatchQuery{}); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Watch() = %v, want ErrUnavailable", err)
		}
	})
}

func TestHub_WatchRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.fail(errDown)
		if _, err := b.hub.Watch(t.Context(), service.WatchQuery{}); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Watch() = %v, want ErrUnavailable", err)
		}
		b.source.fail(nil)
		b.watch(service.WatchQuery{}).snapshot()
		for range maxWatches - 1 {
			b.watch(service.WatchQuery{})
		}
		if _, err := b.hub.Watch(t.Context(), service.WatchQuery{}); !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("Watch() = %v, want ErrUnavailable", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		late := New(b.hub.cfg) // Nobody runs it.
		if _, err := late.Watch(ctx, service.WatchQuery{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Watch() = %v, want Canceled", err)
		}
	})
}
