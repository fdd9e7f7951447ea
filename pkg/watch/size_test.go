package watch

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"darktower.example/global-controller/service"
)

// TestResumes_StoreReads: however many watches resume at a replica that nobody watched before, the store is read once.
func TestWatch_ManyResumesReadStoreOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		const controllers, behind, readers = 300, 4900, 1000
		for i := range controllers {
			b.source.put(controller(fmt.Sprintf("mc-%03d", i), "eu", service.HealthHealthy))
		}
		for i := range behind + 100 {
			b.source.appendUnannounced(int64(i+1), fmt.Sprintf("mc-%03d", i%controllers))
		}

		var all sync.WaitGroup
		watches := make([]*watcher, readers)
		for i := range watches {
			all.Go(func() { watches[i] = b.watchAfter(100) })
		}
		all.Wait()
		if asked := b.source.readCount(); asked > 20 {
			t.Errorf("the store was read %d times for %d watches that resume, want it read for all at once", asked, readers)
		}

		encoded := 0
		for _, f := range watches {
			changes := 0
			for changes < behind+controllers {
				e := f.next()
				changes += len(e.Changes)
				_, _ = e.Encoded("form", func(service.WatchEvent) ([]byte, error) { encoded++; return nil, nil })
			}
		}
		if parts := (behind+controllers)/historyEventSize + 2; encoded > parts {
			t.Errorf("%d parts were encoded, want at most %d, once for all", encoded, parts)
		}
	})
}

// TestHub_AnnouncementWhileAReaderWorks: who announces a change is on the way of a heartbeat, so whatever readers, or the
// reading of the store, hold meanwhile must not hold it up.
func TestHub_AnnouncementDuringReads(t *testing.T) {
	b := newHarness(t)
	for i := range 1000 {
		b.source.put(controller(fmt.Sprintf("mc-%03d", i), "eu", service.HealthHealthy))
	}
	b.watch(service.WatchQuery{Region: "eu"}).snapshot()

	v := b.hub.view.Load()
	for _, lock := range []*sync.Mutex{&b.hub.mu, &b.hub.shared.mu, &b.hub.parts.mu, &v.mu} {
		lock.Lock()
	}
	announced := make(chan struct{})
	go func() {
		b.hub.onAnnouncement(service.Announcement{ControllerIDs: []string{"mc-001"}})
		close(announced)
	}()
	select {
	case <-announced:
	case <-time.After(10 * time.Second):
		t.Error("an announcement waits for a lock that readers hold")
	}
	for _, lock := range []*sync.Mutex{&b.hub.mu, &b.hub.shared.mu, &b.hub.parts.mu, &v.mu} {
		lock.Unlock()
	}
	<-announced
}

// TestHub_SlowReaderHoldsNoEvents: what a resumed reader holds that is not read from is positions, not what it is to be sent.
func TestWatch_SlowWatcherMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t)
		const controllers, behind = 2000, 4900
		for i := range controllers {
			b.source.put(controller(fmt.Sprintf("mc-%04d", i), "eu", service.HealthHealthy))
		}
		for i := range behind {
			b.source.appendUnannounced(int64(i+1), fmt.Sprintf("mc-%04d", i%controllers))
		}
		b.watch(service.WatchQuery{}).snapshot()

		before := heapBytes()
		const readers = 200
		for i := range readers {
			b.watchAfter(int64(i)).next() // Each from elsewhere.
		}
		if held := (heapBytes() - before) / readers; held > 32<<10 {
			t.Errorf("a resumed reader holds %d bytes, want at most %d", held, 32<<10)
		} else {
			t.Logf("a resumed reader holds %d bytes", held)
		}
	})
}
