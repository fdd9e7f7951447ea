package watch

import (
	"testing"
	"testing/synctest"
	"time"

	"darktower.example/global-controller/service"
)

// replace has another history take the place of the source's from a change on, and the fleet be another.
func (s *fakeSource) replaceHistory(keep int, others ...service.Transition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history[:keep:keep], others...)
	for _, t := range s.history[keep:] {
		s.controllers[t.ControllerID] = controller(t.ControllerID, "eu", service.HealthPending)
	}
}

func TestHub_OtherHistoryOfSameLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("kept", "eu", service.HealthPending))
		b.source.change(2, controller("lost", "eu", service.HealthPending))
		f := b.watch(service.WatchQuery{})
		f.snapshot()
		b.source.remove("lost")
		b.source.replaceHistory(1, service.Transition{ID: 2, ControllerID: "new", At: time.Now().Add(time.Hour)}, service.Transition{ID: 3, ControllerID: "newer", At: time.Now()})
		if reason, id, fleet := f.snapshot(); reason != service.SnapshotGone || id != 3 || len(fleet) != 3 {
			t.Errorf("snapshot = %s %d %v, want what there is now", reason, id, fleet)
		}
	})
}

func TestHub_CursorOfOtherHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("kept", "eu", service.HealthPending))
		b.source.change(2, controller("new", "eu", service.HealthPending))
		b.source.change(3, controller("newer", "eu", service.HealthPending))
		keeper := b.watch(service.WatchQuery{})
		keeper.snapshot()
		time.Sleep(time.Second)

		two := int64(2)
		lost := b.watch(service.WatchQuery{After: &two, Fingerprint: "0123456789ab"})
		if reason, id, fleet := lost.snapshot(); reason != service.SnapshotGone || id != 3 || len(fleet) != 3 {
			t.Errorf("snapshot = %s %d %v, want the fleet because the cursor is of another history", reason, id, fleet)
		}
		known := b.source.history[1].Cursor()
		e, news, _ := b.watch(service.WatchQuery{After: &two, Fingerprint: known.Fingerprint}).watch.(*watch).take(time.Now())
		if news != nil || e.Snapshot != nil || len(e.Changes) == 0 {
			t.Errorf("resumed with %+v, want changes, as the cursor is of this history", e)
		}
	})
}

// TestHub_EventsCarryCursors looks at every kind of event.
func TestHub_EventsCarryCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		b.source.change(1, controller("a", "eu", service.HealthPending))
		f := b.watch(service.WatchQuery{Loads: true})
		want := func(what string, e service.WatchEvent, change int) {
			t.Helper()
			if want := b.source.history[change].Cursor(); e.Cursor() != want {
				t.Errorf("%s has the cursor %v, want %v", what, e.Cursor(), want)
			}
		}
		want("a snapshot", f.next(), 0)
		b.source.change(2, controller("a", "eu", service.HealthHealthy))
		want("a change", f.next(), 1)
		beat, err := f.watch.Next(t.Context())
		if err != nil || beat.Snapshot != nil || beat.Changes != nil || beat.Loads != nil {
			t.Fatalf("Next() = %+v, %v, want a beat", beat, err)
		}
		want("a beat", beat, 1)
	})
}

// TestCursor_ClockThatWasSetBack: what is missing is given up after some time, whatever the store's clock says.
func TestCursor_ClockSetBack(t *testing.T) {
	now := time.Now()
	c := cursor{watermark: 1, highest: 1}
	c.add(service.Transition{ID: 3, At: now.Add(2 * time.Hour)}, now)
	c.advance(now)
	if c.watermark != 1 {
		t.Errorf("watermark = %d, want 1, as 2 may yet come", c.watermark)
	}
	c.advance(now.Add(gapTimeout + 1))
	if c.watermark != 3 {
		t.Errorf("watermark = %d, want 3", c.watermark)
	}
}

func TestFingerprints_KeepsLatest(t *testing.T) {
	p := newFingerprints(nil)
	for id := int64(1); id <= maxFingerprints+10; id++ {
		p.add(service.Transition{ID: id})
		p.add(service.Transition{ID: id})
	}
	if p.cursor(10).Fingerprint != "" || p.cursor(11).Fingerprint == "" || len(p.byID) != maxFingerprints {
		t.Errorf("%d are kept, want the last %d", len(p.byID), maxFingerprints)
	}
}
