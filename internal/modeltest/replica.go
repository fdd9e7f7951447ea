package modeltest

import (
	"context"
	"fmt"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/service"
)

// Store is the storage that a simulated Global Controller opens.
type Store interface {
	service.Store
	service.ReplicaStore
	service.Sweeper
	service.Pruner
	WriteConflicts(ctx context.Context) error
	Close() error
}

// settings are what a replica was started with.
type settings struct {
	service.Intervals
	Threshold time.Duration
}

// interval is that of the daemon's sweeps.
const interval = 5 * time.Second

// replica is one Global Controller: the real middleware, service and checker over a store that has outages. It observes them
// all, as the daemon does.
type replica struct {
	*health.Heartbeats
	world *World
	id    string
	up    bool
	cut   bool // It does not reach the store.
	store Store
	calls endpoints.Endpoints
	settings
	checker     *health.Checker
	serviceable *health.Serviceability
	vouching    *vouching
	wall        wallClock
	// seenAt is its last committed beat, by the world's time; vouched is whether it vouched and was acknowledged.
	seenAt  int64
	vouched bool
	// What the current call made known.
	changes []service.Transition
	beat    service.Beat
	beatGap bool
	// beaten and registered are whether the beat and the registration were committed.
	beaten, registered bool
	ticked             bool
	tick               service.SweepResult
	tickErr            error
	faults             int
	// token is the current call's, and refusal what it has to be answered for its token's sake; nil when it is accepted.
	token   token
	refusal error
	// When the checker's timers fire, by the world's time; 0 for never.
	nextBeat, nextSweep, nextRemoval int64
}

// start is what a process that begins does: a service, a pulse and a checker of its own.
func (r *replica) start() (err error) {
	if r.store, err = r.world.cfg.Open(r.world.databaseTime, r.settings); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	faulty := faultyStore{Store: r.store, replica: r}
	r.up, r.Heartbeats, r.vouching = true, health.NewHeartbeats(r.Fast, r.world.time), newVouching(r.Fast)
	r.startClock()
	r.calls = endpoints.New(service.New(faulty, r.Intervals, r, nil), endpoints.Authenticate(r, endpoints.AuthPolicy{
		MCScopes: []string{scopeController}, OnUnverifiable: r.ObserveUnjudged,
	}))
	r.serviceable = health.NewServiceability(
		health.Condition{Name: health.ConditionStore, State: func() string { return r.checker.StoreState() }},
		health.Condition{Name: health.ConditionHeartbeats, State: r.State},
		health.Condition{Name: "clock", State: r.wall.state},
	)
	r.checker = health.NewChecker(health.Config{
		Store:   faulty,
		Replica: service.Replica{ID: r.id, StalenessThreshold: r.Threshold, FastInterval: r.Fast, ComprehensiveInterval: r.Comprehensive},
		Policy: service.SweepPolicy{
			Threshold: r.Threshold, FastInterval: r.Fast, Interval: interval, Tolerance: health.Tolerance, Actor: r.id,
		},
		Vouches:    r.serviceable.Vouches,
		Heartbeats: r.Heartbeats,
		Observe:    func(result service.SweepResult, err error) { r.ticked, r.tick, r.tickErr = true, result, err },
		Logger:     log.NewNopLogger(),
		Now:        r.world.time,
	})
	r.vouched, r.seenAt = false, never
	r.nextBeat, r.nextSweep, r.nextRemoval = r.world.now+1, 0, r.world.now+removalsMs
	return nil
}

func (r *replica) stop() error {
	r.up, r.nextBeat, r.nextSweep, r.nextRemoval = false, 0, 0, 0
	return r.store.Close()
}

// begin forgets what the call before made known.
func (r *replica) begin() {
	r.changes, r.ticked, r.tickErr, r.beaten, r.registered, r.faults = r.changes[:0], false, nil, false, false, 0
	r.token, r.refusal = token{}, nil
}

// ObserveTransition implements [service.Observer].
func (r *replica) ObserveTransition(t service.Transition) {
	r.world.observed.Lock()
	defer r.world.observed.Unlock()
	r.changes = append(r.changes, t)
}

// ObserveSuperseded implements [service.Observer].
func (r *replica) ObserveSuperseded() {}

// faultyStore fails a call before it reaches the store while there is an outage, and now and then afterwards: then it is
// committed, and its caller is not told.
type faultyStore struct {
	Store
	replica *replica
}

func faulty[T any](f faultyStore, call func() (T, error)) (none T, _ error) {
	w := f.replica.world
	if f.replica.cut || w.down || w.readOnly {
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
	return faulty(f, func() (service.RegisterResult, error) {
		result, err := f.Store.Register(ctx, r, actor)
		f.replica.registered = err == nil
		return result, err
	})
}

func (f faultyStore) Heartbeat(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	if f.replica.world.isLocked(h.ControllerID) {
		f.replica.faults++
		return service.HeartbeatResult{}, fmt.Errorf("row locked: %w", service.ErrUnavailable)
	}
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

// Beat notes what was asked, and whether it was committed, also while no observer is set.
func (f faultyStore) Beat(ctx context.Context, b service.Beat) (service.BeatResult, error) {
	f.replica.beat = b
	result, err := faulty(f, func() (service.BeatResult, error) {
		result, err := f.Store.Beat(ctx, b)
		f.replica.beaten, f.replica.beatGap = err == nil, result.Gap
		return result, err
	})
	if err == nil {
		f.replica.readStore(result.At)
	}
	return result, err
}

func (f faultyStore) Sweep(ctx context.Context, policy service.SweepPolicy) (service.SweepResult, error) {
	return faulty(f, func() (service.SweepResult, error) { return f.Store.Sweep(ctx, policy) })
}

func (f faultyStore) Prune(ctx context.Context, policy service.RetentionPolicy) (service.RetentionResult, error) {
	return faulty(f, func() (service.RetentionResult, error) { return f.Store.Prune(ctx, policy) })
}
