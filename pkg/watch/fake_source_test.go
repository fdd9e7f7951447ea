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

// fakeSource is a store in memory with the clock of the test.
type fakeSource struct {
	mu             sync.Mutex
	controllers    map[string]service.Controller
	history        []service.Transition
	err            error // of all reads
	reads          int
	listening      int // calls of Listen that have not ended
	listenCount    int // calls of Listen
	onAnnouncement func(service.Announcement)
}

func newFakeSource() *fakeSource { return &fakeSource{controllers: map[string]service.Controller{}} }

// lock begins a read. It returns what ends the read, and the read's error.
func (s *fakeSource) lock() (unlock func(), err error) {
	s.mu.Lock()
	s.reads++
	return s.mu.Unlock, s.err
}

func (s *fakeSource) Changes(_ context.Context, after int64, missing []int64, limit int) (service.ChangePage, error) {
	unlock, err := s.lock()
	defer unlock()
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
	unlock, err := s.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(s.controllers)) {
		if id > filter.AfterID && len(page) < filter.Limit {
			page = append(page, s.readController(id))
		}
	}
	return page, nil
}

func (s *fakeSource) ControllersByID(_ context.Context, ids []string) (found []service.Controller, _ error) {
	unlock, err := s.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, ok := s.controllers[id]; ok {
			found = append(found, s.readController(id))
		}
	}
	return found, nil
}

func (s *fakeSource) ControllersUpdated(_ context.Context, since time.Time) (found []service.ControllerUpdate, _ error) {
	unlock, err := s.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}

	for id, c := range s.controllers {
		if !c.UpdatedAt.Before(since) {
			found = append(found, service.ControllerUpdate{
				ControllerID:         id,
				CurrentMeetings:      c.CurrentMeetings,
				CurrentParticipants:  c.CurrentParticipants,
				CPUUsagePercent:      c.CPUUsagePercent,
				MemoryUsagePercent:   c.MemoryUsagePercent,
				LastHeartbeatAt:      c.LastHeartbeatAt,
				UpdatedAt:            c.UpdatedAt,
				AsOf:                 time.Now(),
				MaxMeetings:          c.MaxMeetings,
				MaxParticipants:      c.MaxParticipants,
				Facts:                c.Facts,
				Health:               c.Health,
				Generation:           c.Generation,
				IncarnationConflicts: c.IncarnationConflicts,
			})
		}
	}

	return found, nil
}

// readController returns a controller as a read shows it. The lock must be held.
func (s *fakeSource) readController(id string) service.Controller {
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
	onAnnouncement(service.Announcement{Polled: true})

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

// put stores a controller without an announcement.
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

// record inserts a transition with an id, and announces it.
func (s *fakeSource) record(id int64, controller string, to service.HealthStatus) {
	s.mu.Lock()
	s.history = append(s.history, service.Transition{
		ID:           id,
		ControllerID: controller,
		Region:       s.controllers[controller].Region,
		At:           time.Now(),
		To:           to,
	})
	slices.SortFunc(s.history, func(a, b service.Transition) int { return int(a.ID - b.ID) })
	s.mu.Unlock()
	s.announce(service.Announcement{})
}

// appendUnannounced appends a transition without an announcement.
func (s *fakeSource) appendUnannounced(id int64, controller string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.controllers[controller]
	t := service.Transition{ID: id, ControllerID: controller, Region: c.Region, At: time.Now(), To: c.Health}
	s.history = append(s.history, t)
}

// change stores a controller and its transition, as the store does, and announces it.
func (s *fakeSource) change(id int64, c service.Controller) {
	s.put(c)
	s.record(id, c.ControllerID, c.Health)
}

// fail makes all reads fail with an error, and succeed again for nil.
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

func newController(id, region string, health service.HealthStatus) service.Controller {
	return service.Controller{
		ControllerID:    id,
		Region:          region,
		Health:          health,
		Facts:           service.Facts{Reported: health},
		MaxMeetings:     10,
		MaxParticipants: 100,
	}
}

// countingObserver is an observer that counts.
type countingObserver struct {
	mu         sync.Mutex
	watches    int
	lagged     int
	reconnects int
	delivered  []time.Duration
}

func (c *countingObserver) SetWatches(count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches = count
}

func (c *countingObserver) IncLagged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lagged++
}

func (c *countingObserver) IncReconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reconnects++
}

func (c *countingObserver) ObserveDelivery(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivered = append(c.delivered, took)
}

func (c *countingObserver) laggedCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lagged
}

// countingLogger counts the lines of the log.
type countingLogger struct {
	mu    sync.Mutex
	lines int
}

func (l *countingLogger) Log(...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines++
	return nil
}

// harness is a hub that runs in the bubble of a test.
type harness struct {
	t        *testing.T
	source   *fakeSource
	observer *countingObserver
	logger   *countingLogger
	hub      *Hub
	stop     context.CancelFunc
}

func newHarness(t *testing.T) *harness {
	h := &harness{t: t, source: newFakeSource(), observer: &countingObserver{}, logger: &countingLogger{}}
	h.hub = New(Config{Source: h.source, Observer: h.observer, Logger: log.Logger(h.logger)})
	ctx, cancel := context.WithCancel(t.Context())
	h.stop = cancel
	ended := make(chan error, 1)
	go func() { ended <- h.hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	return h
}

func (h *harness) watch(q service.WatchQuery) *watcher {
	h.t.Helper()
	w, err := h.hub.Watch(h.t.Context(), q)
	if err != nil {
		h.t.Fatalf("Watch() = %v", err)
	}
	h.t.Cleanup(w.Close)
	return &watcher{t: h.t, watch: w}
}

func (h *harness) resumeAfter(id int64) *watcher {
	h.t.Helper()
	return h.watch(service.WatchQuery{After: &id})
}

// watcher is the client of a watch.
type watcher struct {
	t     *testing.T
	watch service.Watch
}

// next returns the next event that is not a keep-alive.
func (w *watcher) next() service.WatchEvent {
	w.t.Helper()
	for range 100 {
		if e := w.nextOrKeepAlive(); e.Snapshot != nil || e.Changes != nil || e.Loads != nil {
			return e
		}
	}
	w.t.Fatal("no event but keep-alives")
	return service.WatchEvent{}
}

func (w *watcher) nextOrKeepAlive() service.WatchEvent {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	e, err := w.watch.Next(ctx)
	if err != nil {
		w.t.Fatalf("Next() = %v", err)
	}
	return e
}

// wantNothing checks that the watch sends nothing but keep-alives for a time.
func (w *watcher) wantNothing(d time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	for {
		e, err := w.watch.Next(ctx)
		if err != nil {
			return
		}
		if e.Snapshot != nil || e.Changes != nil || e.Loads != nil {
			w.t.Fatalf("Next() = %+v, want nothing", e)
		}
	}
}

// snapshot reads a whole snapshot and returns its reason, its id and the ids of its controllers.
func (w *watcher) snapshot() (reason string, id int64, fleet []string) {
	w.t.Helper()
	for first := true; ; first = false {
		e := w.next()
		isComplete := e.Snapshot != nil && e.Snapshot.End
		if e.Snapshot == nil || e.Snapshot.Begin != first || e.ID != 0 && !isComplete || len(e.Snapshot.Controllers) > partSize {
			w.t.Fatalf("Next() = %+v, want a part of a snapshot with Begin %v", e, first)
		}
		for _, c := range e.Snapshot.Controllers {
			fleet = append(fleet, c.ControllerID)
		}
		if e.Snapshot.End {
			return e.Snapshot.Reason, e.ID, fleet
		}
	}
}
