package watch

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"darktower.example/global-controller/service"
)

// TestWatch_ManyResumesReadStoreOnce: when many watches resume at a replica without watches, the store is read once.
func TestWatch_ManyResumesReadStoreOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		const controllers, missed, watches = 300, 4900, 1000
		for i := range controllers {
			h.source.put(newController(fmt.Sprintf("mc-%03d", i), "eu", service.HealthHealthy))
		}
		for i := range missed + 100 {
			h.source.appendUnannounced(int64(i+1), fmt.Sprintf("mc-%03d", i%controllers))
		}

		var all sync.WaitGroup
		watchers := make([]*watcher, watches)
		for i := range watchers {
			all.Go(func() { watchers[i] = h.resumeAfter(100) })
		}
		all.Wait()
		if reads := h.source.readCount(); reads > 20 {
			t.Errorf("%d reads of the store for %d watches that resume, want at most 20 for all", reads, watches)
		}

		encoded := 0
		for _, w := range watchers {
			changes := 0
			for changes < missed+controllers {
				e := w.next()
				changes += len(e.Changes)
				_, _ = e.EncodeAs("form", func(service.WatchEvent) ([]byte, error) { encoded++; return nil, nil })
			}
		}
		if parts := (missed+controllers)/historyEventSize + 2; encoded > parts {
			t.Errorf("%d parts were encoded, want at most %d for all watches", encoded, parts)
		}
	})
}

// TestHub_AnnouncementWaitsForNoLock: an announcement is on the path of a heartbeat, so it must not wait for a lock of watches or of the
// poller.
func TestHub_AnnouncementWaitsForNoLock(t *testing.T) {
	h := newHarness(t)
	for i := range 1000 {
		h.source.put(newController(fmt.Sprintf("mc-%03d", i), "eu", service.HealthHealthy))
	}
	h.watch(service.WatchQuery{Region: "eu"}).snapshot()

	v := h.hub.view.Load()
	for _, lock := range []*sync.Mutex{&h.hub.mu, &h.hub.shared.mu, &h.hub.parts.mu, &v.mu} {
		lock.Lock()
	}
	announced := make(chan struct{})
	go func() {
		h.hub.onAnnouncement(service.Announcement{ControllerIDs: []string{"mc-001"}})
		close(announced)
	}()
	select {
	case <-announced:
	case <-time.After(10 * time.Second):
		t.Error("an announcement waits for a lock that watches or the poller hold")
	}
	for _, lock := range []*sync.Mutex{&h.hub.mu, &h.hub.shared.mu, &h.hub.parts.mu, &v.mu} {
		lock.Unlock()
	}
	<-announced
}

// TestWatch_SlowWatcherHoldsPositionsOnly: a resumed watch whose watcher does not read holds positions, not events.
func TestWatch_SlowWatcherHoldsPositionsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		const controllers, missed = 2000, 4900
		for i := range controllers {
			h.source.put(newController(fmt.Sprintf("mc-%04d", i), "eu", service.HealthHealthy))
		}
		for i := range missed {
			h.source.appendUnannounced(int64(i+1), fmt.Sprintf("mc-%04d", i%controllers))
		}
		h.watch(service.WatchQuery{}).snapshot()

		before := measureHeap()
		const watches = 200
		for i := range watches {
			h.resumeAfter(int64(i)).next() // each from another change
		}
		if held := (measureHeap() - before) / watches; held > 32<<10 {
			t.Errorf("a resumed watch holds %d bytes, want at most %d", held, 32<<10)
		} else {
			t.Logf("a resumed watch holds %d bytes", held)
		}
	})
}
