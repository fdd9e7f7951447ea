package watch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"go.uber.org/goleak"

	"darktower.example/global-controller/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSource is a store whose clock is that of the test.
type fakeSource struct {
	mu             sync.Mutex
	controllers    map[string]service.Controller
	history        []service.Transition
	err            error
	reads          int
	listening      int
	listenCount    int
	onAnnouncement func(service.Announcement)
}

func newSource() *fakeSource { return &fakeSource{controllers: map[string]service.Controller{}} }

func (s *fakeSource) lock() (func(), error) {
	s.mu.Lock()
	s.reads++
	return s.mu.Unlock, s.err
}

func (s *fakeSource) Changes(_ context.Context, after int64, missing []int64, limit int) (service.ChangePage, error) {
	leave, err := s.lock()
	defer leave()
	if err != nil {
		return service.ChangePage{}, err
	}
	page := service.ChangePage{AsOf: time.Now()}
	if len(s.history) > 0 {
		page.Oldest, page.Newest = s.history[0].ID, s.history[len(s.history)-1].ID
	}
	for _, t := range s.history {
		if slices.Contains(missing, t.ID) {
			page.Transitions = append(page.Transitions, t)
		}
		if t.ID > after && limit > 0 {
			limit--
			page.Transitions = append(page.Transitions, t)
		}
	}
	return page, nil
}

func (s *fakeSource) Controllers(_ context.Context, filter service.ControllerFilter) (page []service.Controller, _ error) {
	leave, err := s.lock()
	defer leave()
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(s.controllers)) {
		if id > filter.AfterID && len(page) < filter.Limit {
			page = append(page, s.shown(id))
		}
	}
	return page, nil
}

func (s *fakeSource) ControllersByID(_ context.Context, ids []string) (found []service.Controller, _ error) {
	leave, err := s.lock()
	defer leave()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, ok := s.controllers[id]; ok {
			found = append(found, s.shown(id))
		}
	}
	return found, nil
}

func (s *fakeSource) ControllersUpdated(_ context.Context, since time.Time) (found []service.ControllerUpdate, _ error) {
	leave, err := s.lock()
	defer leave()
	if err != nil {
		return nil, err
	}
	for id, c := range s.controllers {
		if !c.UpdatedAt.Before(since) {
			found = append(found, service.ControllerUpdate{
				ControllerID: id, CurrentMeetings: c.CurrentMeetings, CurrentParticipants: c.CurrentParticipants,
				CPUUsagePercent: c.CPUUsagePercent, MemoryUsagePercent: c.MemoryUsagePercent, LastHeartbeatAt: c.LastHeartbeatAt, UpdatedAt: c.UpdatedAt,
				AsOf: time.Now(), MaxMeetings: c.MaxMeetings, MaxParticipants: c.MaxParticipants, Facts: c.Facts, Health: c.Health,
				Generation: c.Generation, IncarnationConflicts: c.IncarnationConflicts,
			})
		}
	}
	return found, nil
}

func (s *fakeSource) shown(id string) service.Controller {
	c := s.controllers[id]
	c.AsOf = time.Now()
	return c
}

func (s *fakeSource) Listen(ctx context.Context, onAnnouncement func(service.Announcement)) {
	s.mu.Lock()
	s.listening++
	s.listenCount++
	s.onAnnouncement = onAnnouncement
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening--
	s.onAnnouncement = nil
}

func (s *fakeSource) announce(a service.Announcement) {
	s.mu.Lock()
	onAnnouncement := s.onAnnouncement
	s.mu.Unlock()
	if onAnnouncement != nil {
		onAnnouncement(a)
	}
}

// put stores a controller as if nobody announced it.
func (s *fakeSource) put(c service.Controller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.UpdatedAt = time.Now()
	s.controllers[c.ControllerID] = c
}

func (s *fakeSource) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.controllers, id)
}

// record writes history with an id of the test's choice, and announces it.
func (s *fakeSource) record(id int64, controller string, to service.HealthStatus) {
	s.mu.Lock()
	s.history = append(s.history, service.Transition{ID: id, ControllerID: controller, Region: s.controllers[controller].Region, At: time.Now(), To: to})
	slices.SortFunc(s.history, func(a, b service.Transition) int { return int(a.ID - b.ID) })
	s.mu.Unlock()
	s.announce(service.Announcement{})
}

// append writes history at its end, as if nobody announced it.
func (s *fakeSource) appendUnannounced(id int64, controller string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.controllers[controller]
	s.history = append(s.history, service.Transition{ID: id, ControllerID: controller, Region: c.Region, At: time.Now(), To: c.Health})
}

// change stores a controller and its change of state together, as the store does.
func (s *fakeSource) change(id int64, c service.Controller) {
	s.put(c)
	s.record(id, c.ControllerID, c.Health)
}

// fail has the store answer with an error; nil ends that.
func (s *fakeSource) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *fakeSource) readCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

var errDown = errors.Join(errors.New("no store"), service.ErrUnavailable)

func controller(id, region string, health service.HealthStatus) service.Controller {
	return service.Controller{ControllerID: id, Region: region, Health: health, Facts: service.Facts{Reported: health}, MaxMeetings: 10, MaxParticipants: 100}
}

// counts is an observer that counts.
type countingObserver struct {
	mu                           sync.Mutex
	watching, lagged, reconnects int
	delivered                    []time.Duration
}

func (c *countingObserver) SetWatches(readers int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watching = readers
}
func (c *countingObserver) IncLagged()      { c.mu.Lock(); defer c.mu.Unlock(); c.lagged++ }
func (c *countingObserver) IncReconnected() { c.mu.Lock(); defer c.mu.Unlock(); c.reconnects++ }
func (c *countingObserver) ObserveDelivery(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivered = append(c.delivered, took)
}

// lines counts what is logged.
type countingLogger struct {
	mu    sync.Mutex
	lines int
}

func (l *countingLogger) Log(...any) error { l.mu.Lock(); defer l.mu.Unlock(); l.lines++; return nil }

// bench is a hub that runs in a bubble.
type harness struct {
	t        *testing.T
	source   *fakeSource
	observer *countingObserver
	logger   *countingLogger
	hub      *Hub
	stop     context.CancelFunc
}

func newHarness(t *testing.T) *harness {
	b := &harness{t: t, source: newSource(), observer: &countingObserver{}, logger: &countingLogger{}}
	b.hub = New(Config{Source: b.source, Observer: b.observer, Logger: log.Logger(b.logger)})
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	ended := make(chan error, 1)
	go func() { ended <- b.hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	return b
}

func (b *harness) watch(q service.WatchQuery) *watcher {
	b.t.Helper()
	w, err := b.hub.Watch(b.t.Context(), q)
	if err != nil {
		b.t.Fatalf("Watch() = %v", err)
	}
	b.t.Cleanup(w.Close)
	return &watcher{t: b.t, watch: w}
}

func (b *harness) watchAfter(id int64) *watcher {
	b.t.Helper()
	return b.watch(service.WatchQuery{After: &id})
}

// follower reads a watch.
type watcher struct {
	t     *testing.T
	watch service.Watch
}

// next returns the next event that is no beat.
func (f *watcher) next() service.WatchEvent {
	f.t.Helper()
	for range 100 {
		if e := f.nextOrBeat(); e.Snapshot != nil || e.Changes != nil || e.Loads != nil {
			return e
		}
	}
	f.t.Fatal("nothing but beats came")
	return service.WatchEvent{}
}

func (f *watcher) nextOrBeat() service.WatchEvent {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 3*time.Minute)
	defer cancel()
	e, err := f.watch.Next(ctx)
	if err != nil {
		f.t.Fatalf("Next() = %v", err)
	}
	return e
}

// quiet holds that nothing but beats comes for a while.
func (f *watcher) wantNothing(d time.Duration) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), d)
	defer cancel()
	for {
		e, err := f.watch.Next(ctx)
		if err != nil {
			return
		}
		if e.Snapshot != nil || e.Changes != nil || e.Loads != nil {
			f.t.Fatalf("Next() = %+v, want nothing", e)
		}
	}
}

// snapshot reads a whole snapshot and returns its reason, its id and who is in it.
func (f *watcher) snapshot() (reason string, id int64, fleet []string) {
	f.t.Helper()
	for first := true; ; first = false {
		e := f.next()
		if e.Snapshot == nil || e.Snapshot.Begin != first || (e.ID != 0) != e.Snapshot.End && e.ID != 0 || len(e.Snapshot.Controllers) > partSize {
			f.t.Fatalf("Next() = %+v, want a part of a snapshot, which begins: %v", e, first)
		}
		for _, c := range e.Snapshot.Controllers {
			fleet = append(fleet, c.ControllerID)
		}
		if e.Snapshot.End {
			return e.Snapshot.Reason, e.ID, fleet
		}
	}
}

// count is how many readers lagged.
func (c *countingObserver) laggedCount() int { c.mu.Lock(); defer c.mu.Unlock(); return c.lagged }
