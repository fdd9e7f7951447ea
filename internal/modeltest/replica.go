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

// Store is the storage of a Global Controller under test.
type Store interface {
	service.Store
	service.ReplicaStore
	service.Sweeper
	service.Pruner
	WriteConflicts(ctx context.Context) error
	Close() error
}

// settings are the settings with which a replica starts.
type settings struct {
	service.Intervals
	Threshold time.Duration
}

// sweepInterval is the interval between sweeps, as in the daemon.
const sweepInterval = 5 * time.Second

// replica is one Global Controller: the real middleware, service and checker over a store with faults. It is their observer, as the daemon
// is.
type replica struct {
	*health.HeartbeatMonitor
	settings

	env           *Environment
	id            string
	isUp          bool
	disconnection outage // It does not reach the store.

	store          Store
	calls          endpoints.Endpoints
	checker        *health.Checker
	serviceability *health.Serviceability
	vouchModel     *vouchModel
	wall           wallClock

	lastBeatAt int64 // true time of its last committed beat
	hasVouched bool  // The last beat vouched, and its commit was confirmed.

	// What was observed of the current call.
	transitions             []service.Transition
	lastBeat                service.Beat
	hasFoundGap             bool // by the committed beat
	isBeatCommitted         bool
	isRegistrationCommitted bool
	beatErr                 error // of a failed beat
	hasSweepResult          bool  // The checker reported the result of a sweep.
	sweepResult             service.SweepResult
	sweepErr                error
	faults                  int // injected faults

	// token is the token of the current call. wantRefusal is the error that it must cause, nil if the token must be accepted.
	token       token
	wantRefusal error

	// True times at which the checker's timers fire; 0 for never.
	nextBeat, nextSweep, nextPrune int64
}

// start starts a process of the replica, with its own service and checker.
func (r *replica) start() (err error) {
	if r.store, err = r.env.cfg.Open(r.env.databaseTime, r.settings); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	store := faultyStore{Store: r.store, replica: r}

	r.isUp = true
	r.HeartbeatMonitor = health.NewHeartbeatMonitor(r.Fast, r.env.processTime)
	r.vouchModel = newVouchModel(r.Fast)
	r.startClock()

	policy := endpoints.AuthPolicy{MCScopes: []string{scopeController}, OnUnverifiable: r.ObserveUnverifiable}
	r.calls = endpoints.New(service.New(store, r.Intervals, r, nil), endpoints.Authenticate(r, policy))
	r.serviceability = health.NewServiceability(
		health.Condition{Name: health.ConditionStore, State: func() string { return r.checker.StoreState() }},
		health.Condition{Name: health.ConditionHeartbeats, State: r.State},
		health.Condition{Name: "clock", State: r.wall.state},
	)
	r.checker = r.newChecker(store)

	r.hasVouched, r.lastBeatAt = false, never
	r.nextBeat = r.env.now + 1
	r.nextSweep = 0
	r.nextPrune = r.env.now + pruneIntervalMs
	return nil
}

func (r *replica) newChecker(store health.Store) *health.Checker {
	settings := service.Replica{
		ID:                    r.id,
		StalenessThreshold:    r.Threshold,
		FastInterval:          r.Fast,
		ComprehensiveInterval: r.Comprehensive,
	}
	policy := service.SweepPolicy{
		Threshold:    r.Threshold,
		FastInterval: r.Fast,
		Interval:     sweepInterval,
		Tolerance:    health.Tolerance,
		Actor:        r.id,
	}

	return health.NewChecker(health.Config{
		Store:      store,
		Replica:    settings,
		Policy:     policy,
		CanVouch:   r.serviceability.CanVouch,
		Heartbeats: r.HeartbeatMonitor,
		ObserveSweep: func(result service.SweepResult, err error) {
			r.hasSweepResult, r.sweepResult, r.sweepErr = true, result, err
		},
		ObserveBeatFailure: func(err error) { r.beatErr = err },
		Logger:             log.NewNopLogger(),
		Now:                r.env.processTime,
	})
}

func (r *replica) stop() error {
	r.isUp = false
	r.nextBeat, r.nextSweep, r.nextPrune = 0, 0, 0
	return r.store.Close()
}

// resetObservations removes what was observed of the previous call.
func (r *replica) resetObservations() {
	r.transitions = r.transitions[:0]
	r.beatErr = nil
	r.hasSweepResult, r.sweepErr = false, nil
	r.isBeatCommitted, r.isRegistrationCommitted = false, false
	r.faults = 0
	r.token, r.wantRefusal = token{}, nil
}

// ObserveTransition implements [service.Observer].
func (r *replica) ObserveTransition(t service.Transition) {
	r.env.observeMu.Lock()
	defer r.env.observeMu.Unlock()
	r.transitions = append(r.transitions, t)
}

// ObserveSuperseded implements [service.Observer].
func (r *replica) ObserveSuperseded() {}

// faultyStore injects faults. During an outage a call fails before it reaches the store. Sometimes a call fails after the store has
// committed it: its response is lost.
type faultyStore struct {
	Store
	replica *replica
}

func withFaults[T any](f faultyStore, call func() (T, error)) (T, error) {
	var zero T
	env := f.replica.env
	if f.replica.disconnection.isActive || env.storeDown.isActive || env.readOnly.isActive {
		f.replica.faults++
		return zero, fmt.Errorf("outage: %w", service.ErrUnavailable)
	}

	value, err := call()
	// The calls of a burst run concurrently, so random numbers drawn here would depend on the scheduler.
	if err == nil && !env.isSendingBurst && env.oneIn(lostResponseOdds) {
		f.replica.faults++
		return zero, fmt.Errorf("response lost: %w", service.ErrUnavailable)
	}
	return value, err
}

func (f faultyStore) Register(ctx context.Context, r service.Registration, actor string) (service.RegisterResult, error) {
	return withFaults(f, func() (service.RegisterResult, error) {
		result, err := f.Store.Register(ctx, r, actor)
		f.replica.isRegistrationCommitted = err == nil
		return result, err
	})
}

func (f faultyStore) Heartbeat(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	if f.replica.env.isLocked(h.ControllerID) {
		f.replica.faults++
		return service.HeartbeatResult{}, fmt.Errorf("row locked: %w", service.ErrUnavailable)
	}
	return withFaults(f, func() (service.HeartbeatResult, error) { return f.Store.Heartbeat(ctx, h) })
}

// RecordConflict writes immediately, because no time passes before the test reads the store.
func (f faultyStore) RecordConflict(id string) {
	_, _ = withFaults(f, func() (struct{}, error) {
		f.Store.RecordConflict(id)
		return struct{}{}, f.WriteConflicts(context.Background())
	})
}

func (f faultyStore) Drain(ctx context.Context, order service.DrainOrder, actor string) (service.OperatorResult, error) {
	return withFaults(f, func() (service.OperatorResult, error) { return f.Store.Drain(ctx, order, actor) })
}

func (f faultyStore) Undrain(ctx context.Context, order service.UndrainOrder, actor string) (service.OperatorResult, error) {
	return withFaults(f, func() (service.OperatorResult, error) { return f.Store.Undrain(ctx, order, actor) })
}

func (f faultyStore) Deregister(ctx context.Context, d service.Deregistration, actor string, isOwn bool) (*service.Transition, error) {
	return withFaults(f, func() (*service.Transition, error) { return f.Store.Deregister(ctx, d, actor, isOwn) })
}

// Beat records the beat, and whether it was committed, even if its response is lost.
func (f faultyStore) Beat(ctx context.Context, b service.Beat) (service.BeatResult, error) {
	f.replica.lastBeat = b
	result, err := withFaults(f, func() (service.BeatResult, error) {
		result, err := f.Store.Beat(ctx, b)
		f.replica.isBeatCommitted, f.replica.hasFoundGap = err == nil, result.Gap
		return result, err
	})
	if err == nil {
		f.replica.readStore(result.At)
	}
	return result, err
}

func (f faultyStore) Sweep(ctx context.Context, policy service.SweepPolicy) (service.SweepResult, error) {
	return withFaults(f, func() (service.SweepResult, error) { return f.Store.Sweep(ctx, policy) })
}

func (f faultyStore) Prune(ctx context.Context, policy service.RetentionPolicy) (service.RetentionResult, error) {
	return withFaults(f, func() (service.RetentionResult, error) { return f.Store.Prune(ctx, policy) })
}
