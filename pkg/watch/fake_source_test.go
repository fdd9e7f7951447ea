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
	mu          sync.Mutex
	controllers map[string]service.Controller
	history     []service.Transition
	down        error
	calls       int
	listening   int
	listened    int
	heard       func(service.Announcement)
}

func newSource() *fakeSource { return &fakeSource{controllers: map[string]service.Controller{}} }

func (s *fakeSource) enter() (func(), error) {
	s.mu.Lock()
	s.calls++
	return s.mu.Unlock, s.down
}

func (s *fakeSource) Changes(_ context.Context, after int64, missing []int64, limit int) (service.ChangePage, error) {
	leave, err := s.enter()
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
	leave, err := s.enter()
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
	leave, err := s.enter()
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
	leave, err := s.enter()
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

func (s *fakeSource) Listen(ctx context.Context, heard func(service.Announcement)) {
	s.mu.Lock()
	s.listening++
	s.listened++
	s.heard = heard
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening--
	s.heard = nil
}

func (s *fakeSource) announce(a service.Announcement) {
	s.mu.Lock()
	heard := s.heard
	s.mu.Unlock()
	if heard != nil {
		heard(a)
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
func (s *fakeSource) append(id int64, controller string) {
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
	s.down = err
}

func (s *fakeSource) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

var errDown = errors.Join(errors.New("no store"), service.ErrUnavailable)

func controller(id, region string, health service.HealthStatus) service.Controller {
	return service.Controller{ControllerID: id, Region: region, Health: health, Facts: service.Facts{Reported: health}, MaxMeetings: 10, MaxParticipants: 100}
}

// counts is an observer that counts.
type counts struct {
	mu                           sync.Mutex
	watching, lagged, reconnects int
	delivered                    []time.Duration
}

func (c *counts) SetWatches(readers int) { c.mu.Lock(); defer c.mu.Unlock(); c.watching = readers }
func (c *counts) IncLagged()             { c.mu.Lock(); defer c.mu.Unlock(); c.lagged++ }
func (c *counts) IncReconnected()        { c.mu.Lock(); defer c.mu.Unlock(); c.reconnects++ }
func (c *counts) ObserveDelivery(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivered = append(c.delivered, took)
}

// lines counts what is logged.
type lines struct {
	mu sync.Mutex
	n  int
}

func (l *lines) Log(...any) error { l.mu.Lock(); defer l.mu.Unlock(); l.n++; return nil }

// bench is a hub that runs in a bubble.
type bench struct {
	t      *testing.T
	source *fakeSource
	counts *counts
	lines  *lines
	hub    *Hub
	stop   context.CancelFunc
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, source: newSource(), counts: &counts{}, lines: &lines{}}
	b.hub = New(Config{Source: b.source, Observer: b.counts, Logger: log.Logger(b.lines)})
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

func (b *bench) watch(q service.WatchQuery) *follower {
	b.t.Helper()
	w, err := b.hub.Watch(b.t.Context(), q)
	if err != nil {
		b.t.Fatalf("Watch() = %v", err)
	}
	b.t.Cleanup(w.Close)
	return &follower{t: b.t, watch: w}
}

func (b *bench) after(id int64) *follower {
	b.t.Helper()
	return b.watch(service.WatchQuery{After: &id})
}

// follower reads a watch.
type follower struct {
	t     *testing.T
	watch service.Watch
}

// next returns the next event that is no beat.
func (f *follower) next() service.WatchEvent {
	f.t.Helper()
	for range 100 {
		if e := f.any(); e.Snapshot != nil || e.Changes != nil || e.Loads != nil {
			return e
		}
	}
	f.t.Fatal("nothing but beats came")
	return service.WatchEvent{}
}

func (f *follower) any() service.WatchEvent {
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
func (f *follower) quiet(d time.Duration) {
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
func (f *follower) snapshot() (reason string, id int64, fleet []string) {
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
func (c *counts) count() int { c.mu.Lock(); defer c.mu.Unlock(); return c.lagged }
