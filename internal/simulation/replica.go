package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/service"
)

// Store is the storage that a simulated Global Controller opens.
type Store interface {
	service.Store
	service.Sweeper
	WriteConflicts(ctx context.Context) error
	Close() error
}

// intervals are what controllers are told.
var intervals = service.Intervals{Fast: 10 * time.Second, Comprehensive: 30 * time.Second}

// interval is that of the daemon's sweeps.
const interval = 5 * time.Second

// replica is one Global Controller: the real service and checker over a store that has outages. It observes them both,
// as the daemon does.
type replica struct {
	*health.Pulse
	world   *World
	id      string
	up      bool
	cut     bool // It does not reach the store.
	store   Store
	service service.Service
	checker health.Checker
	// What the current call made known.
	changes []service.Transition
	ticked  bool
	tick    service.SweepResult
	tickErr error
	faults  int
	// accepted tells whether a heartbeat was acknowledged since the last pass of the checker, and failedAt when one last
	// failed and was not made up for; 0 for never.
	accepted bool
	failedAt int64
	// When the checker's timers fire, by the world's time; 0 for never.
	nextBeat, nextSweep int64
}

// start is what a process that begins does: a service, a pulse and a checker of its own.
func (r *replica) start() (err error) {
	if r.store, err = r.world.open(); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	faulty := faultyStore{Store: r.store, replica: r}
	r.up, r.Pulse = true, &health.Pulse{Now: r.world.time}
	r.service = service.New(faulty, intervals, r, nil)
	r.checker = health.Checker{Config: health.Config{
		Store:       faulty,
		Policy:      service.SweepPolicy{Threshold: time.Duration(r.world.threshold) * time.Millisecond, Interval: interval, Tolerance: health.Tolerance, Actor: r.id},
		Serviceable: func() bool { return r.Beating() },
		Observe:     func(result service.SweepResult, err error) { r.ticked, r.tick, r.tickErr = true, result, err },
		Logger:      log.NewNopLogger(),
	}}
	r.accepted, r.failedAt = false, 0
	r.nextBeat, r.nextSweep = r.world.now+1, 0
	return nil
}

func (r *replica) stop() error {
	r.up, r.nextBeat, r.nextSweep = false, 0, 0
	return r.store.Close()
}

// begin forgets what the call before made known.
func (r *replica) begin() { r.changes, r.ticked, r.faults = r.changes[:0], false, 0 }

// Changed implements [service.Observer].
func (r *replica) Changed(t service.Transition) {
	r.world.observed.Lock()
	defer r.world.observed.Unlock()
	r.changes = append(r.changes, t)
}

// Superseded implements [service.Observer].
func (r *replica) Superseded() {}

// faultyStore fails a call before the store has heard of it while there is an outage, and now and then afterwards: then
// it is committed, and nobody is told.
type faultyStore struct {
	Store
	replica *replica
}

func faulty[T any](f faultyStore, call func() (T, error)) (none T, _ error) {
	w := f.replica.world
	if f.replica.cut || w.down {
		f.replica.faults++
		return none, fmt.Errorf("outage: %w", service.ErrUnavailable)
	}
	value, err := call()
	// In a group the calls run at once, and dice are thrown in one order only.
	if err == nil && !w.grouping && w.rarely(lostAnswers) {
		f.replica.faults++
		return none, fmt.Errorf("answer lost: %w", service.ErrUnavailable)
	}
	return value, err
}

func (f faultyStore) Register(ctx context.Context, r service.Registration, actor string) (service.RegisterResult, error) {
	return faulty(f, func() (service.RegisterResult, error) { return f.Store.Register(ctx, r, actor) })
}

func (f faultyStore) Heartbeat(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	return faulty(f, func() (service.HeartbeatResult, error) { return f.Store.Heartbeat(ctx, h) })
}

// RecordConflict writes at once, as no time passes until the world looks at the store.
func (f faultyStore) RecordConflict(id string) {
	_, _ = faulty(f, func() (struct{}, error) {
		f.Store.RecordConflict(id)
		return struct{}{}, f.WriteConflicts(context.Background())
	})
}

func (f faultyStore) Drain(ctx context.Context, order service.DrainOrder, actor string) (service.OperatorResult, error) {
	return faulty(f, func() (service.OperatorResult, error) { return f.Store.Drain(ctx, order, actor) })
}

func (f faultyStore) Undrain(ctx context.Context, order service.UndrainOrder, actor string) (service.OperatorResult, error) {
	return faulty(f, func() (service.OperatorResult, error) { return f.Store.Undrain(ctx, order, actor) })
}

func (f faultyStore) Deregister(ctx context.Context, d service.Deregistration, actor string, byItself bool) (*service.Transition, error) {
	return faulty(f, func() (*service.Transition, error) { return f.Store.Deregister(ctx, d, actor, byItself) })
}

func (f faultyStore) Tick(ctx context.Context, policy service.SweepPolicy) (service.SweepResult, error) {
	return faulty(f, func() (service.SweepResult, error) { return f.Store.Tick(ctx, policy) })
}
