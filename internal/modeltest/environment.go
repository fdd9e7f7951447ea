package modeltest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"darktower.example/global-controller/service"
)

// Config configures one history. The same seed over the same kind of store gives the same history.
type Config struct {
	Seed  uint64
	Steps int
	// Open opens the history's store for a replica with these settings. The store's database uses the given clock, unless SetClock
	// is set.
	Open func(clock func() time.Time, s settings) (Store, error)
	// SetClock sets the clock of a database that cannot call a function for the time; nil if it can.
	SetClock func(now time.Time) error
	// Hold makes the next write that reads the database's clock wait. reached is closed when a write waits, and open releases it.
	// If Hold is nil, the environment itself holds the write when the database calls its clock.
	Hold func() (reached <-chan struct{}, open func() error, err error)
	// Backup copies the store; nil means that the history has no backups.
	Backup func() (Backup, error)
}

const (
	replicas = 2
	// epoch is the start of every history, in Unix milliseconds.
	epoch = 1_900_000_000_000
	// One in lostResponseOdds calls is committed and reported as failed; one in slowBeatOdds beats is late or missed. Outside of a
	// fault burst both are rarer by calmFactor.
	lostResponseOdds = 40
	slowBeatOdds     = 60
	calmFactor       = 10
	// The test reads the history at least every historyEvery steps, and compares the whole fleet every fleetEvery steps.
	historyEvery = 16
	fleetEvery   = 64
)

// thresholds are the staleness thresholds in milliseconds: the default, and shorter ones, with which more happens in as many steps.
var thresholds = []int64{30_000, 15_000, 8_000}

// Environment is a fleet, its Global Controllers and their store, in virtual time.
type Environment struct {
	cfg Config
	rng *rand.Rand
	// now is the true time in Unix milliseconds; skew is the offset of the database's clock.
	now, skew int64
	// threshold is the staleness threshold in milliseconds.
	threshold int64

	replicas  []*replica
	fleet     []*controller // in the order of their ids
	processes []*process
	serial    int64 // of the last process

	// The model of the store.
	generationFloor int64 // above every generation of a controller that was removed
	guarantees      guarantees
	policy          policy

	// Faults, and the times at which they end; 0 means that there is no fault.
	storeDown   outage
	readOnly    outage           // The store fails all writes.
	lockedUntil map[string]int64 // controllers whose rows are locked
	restartAt   [replicas]int64

	nextAction      int64
	isFaultBurst    bool // Faults are frequent until nextBurstToggle.
	nextBurstToggle int64

	// observerStore reads the store for the observer, and has no outages.
	observerStore       Store
	lastID              int64 // of the last transition that was read
	expectedTransitions []service.Transition

	isSendingBurst bool // Calls run concurrently.
	barrier        atomic.Pointer[writeBarrier]
	observeMu      sync.Mutex

	trace       trace
	restores    *restores
	clockFaults *clockFaults
}

// Run runs one history. It returns a hash of all events, and a [*Failure] if a check failed.
func Run(cfg Config) (hash uint64, err error) {
	env := &Environment{
		cfg:         cfg,
		rng:         rand.New(rand.NewPCG(cfg.Seed, 0)), //nolint:gosec // A seed must give the same numbers.
		now:         epoch,
		restores:    newRestores(cfg.Seed),
		clockFaults: newClockFaults(cfg.Seed),
	}
	defer func() { err = errors.Join(err, env.close()) }()

	step := 0
	failure := func(err error) error {
		return &Failure{Seed: cfg.Seed, Step: step, Err: err, Trace: env.trace.last()}
	}

	if err := env.setUp(); err != nil {
		return 0, failure(err)
	}
	for step = 1; step <= cfg.Steps; step++ {
		if err := env.step(step); err != nil {
			return 0, failure(err)
		}
	}
	if err := env.checkAll(); err != nil {
		return 0, failure(err)
	}
	return env.trace.hash, nil
}

func (env *Environment) setUp() (err error) {
	env.trace = newTrace()
	env.threshold = pick(env, thresholds)
	if err := env.setDatabaseClock(); err != nil {
		return err
	}
	if env.observerStore, err = env.cfg.Open(env.databaseTime, settings{}); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	env.guarantees = newGuarantees(env.threshold, env.now)
	env.policy = newPolicy()
	env.lockedUntil = map[string]int64{}

	for i := range replicas {
		r := &replica{env: env, id: fmt.Sprintf("gc-%d", i), settings: env.settingsFor(1)}
		env.replicas = append(env.replicas, r)
		if err := r.start(); err != nil {
			return err
		}
		r.nextBeat = env.now + env.rng.Int64N(1000)
	}
	for i := range 8 + env.rng.IntN(5) {
		env.fleet = append(env.fleet, &controller{id: fmt.Sprintf("mc-%02d", i), generationFloor: &env.generationFloor})
	}

	env.nextAction = env.now
	env.nextBurstToggle = env.now + 1
	env.clockFaults.nextStep = env.now + 1 + env.clockFaults.rng.Int64N(10*env.threshold)
	return nil
}

func (env *Environment) close() error {
	var errs []error
	for _, r := range env.replicas {
		if r.isUp {
			errs = append(errs, r.stop())
		}
	}
	if env.observerStore != nil {
		errs = append(errs, env.observerStore.Close())
	}
	return errors.Join(errs...)
}

// settingsFor returns replica settings whose threshold is a multiple of the environment's.
func (env *Environment) settingsFor(times int64) settings {
	threshold := time.Duration(times*env.threshold) * time.Millisecond
	return settings{
		Intervals: service.Intervals{Fast: threshold / 3, Comprehensive: threshold},
		Threshold: threshold,
	}
}

// processTime returns the true time, which all processes use.
func (env *Environment) processTime() time.Time { return time.UnixMilli(env.now).UTC() }

// databaseNow returns the time of the database's clock, in Unix milliseconds.
func (env *Environment) databaseNow() int64 { return env.now + env.skew }

// databaseTime returns the time of the database's clock. If a write is held, the first call waits.
func (env *Environment) databaseTime() time.Time {
	if b := env.barrier.Swap(nil); b != nil {
		b.wait()
	}
	return time.UnixMilli(env.databaseNow()).UTC()
}

func (env *Environment) setDatabaseClock() error {
	if env.cfg.SetClock == nil {
		return nil
	}
	return env.cfg.SetClock(env.databaseTime())
}

// event is an action that is due at a time. Of several events at the same time, the first one found runs first.
type event struct {
	at int64
	do func() error
}

// step runs the next event, and checks its results.
func (env *Environment) step(n int) error {
	e := env.nextEvent()
	if e.at > env.now {
		env.now = e.at
		if err := env.setDatabaseClock(); err != nil {
			return err
		}
	}
	env.advanceClocks()

	if err := e.do(); err != nil {
		return err
	}
	env.guarantees.recordServiceability(env.isServiceable(), env.now, env.databaseNow())

	if len(env.expectedTransitions) > 0 || n%historyEvery == 0 {
		if err := env.checkHistory(); err != nil {
			return err
		}
	}
	if n%fleetEvery == 0 {
		if err := env.checkFleet(); err != nil {
			return err
		}
	}
	return env.checkRestores(n)
}

// nextEvent returns the event that is due next.
func (env *Environment) nextEvent() event {
	e := event{env.nextAction, env.act}
	consider := func(at int64, do func() error) {
		if at != 0 && at < e.at {
			e = event{at, do}
		}
	}

	consider(env.nextBurstToggle, env.toggleFaultBurst)
	consider(env.storeDown.until, func() error { return env.endOutage(&env.storeDown, "the store is back") })
	consider(env.readOnly.until, func() error { return env.endOutage(&env.readOnly, "the store accepts writes again") })
	for i, r := range env.replicas {
		consider(r.disconnection.until, func() error { return env.endOutage(&r.disconnection, r.id+" reaches the store again") })
		consider(env.restartAt[i], func() error { return env.startReplica(i) })
		consider(r.nextBeat, func() error { return env.onBeatTimer(r) })
		consider(r.nextSweep, func() error { return env.onSweepTimer(r) })
		consider(r.nextPrune, func() error { return env.onPruneTimer(r) })
	}
	for _, p := range env.processes {
		consider(p.nextAt, func() error { return env.sendScheduledHeartbeat(p) })
	}
	return e
}

// isServiceable reports whether any replica can verify the token of a heartbeat and commit it now.
func (env *Environment) isServiceable() bool {
	return !env.storeDown.isActive && !env.readOnly.isActive && slices.ContainsFunc(env.replicas, func(r *replica) bool {
		isWrong, _ := r.wall.compare(env.now)
		return r.isUp && !r.disconnection.isActive && !isWrong
	})
}

// oneIn draws whether an event happens whose odds are one in odds during a fault burst, and rarer otherwise.
func (env *Environment) oneIn(odds int) bool {
	if !env.isFaultBurst {
		odds *= calmFactor
	}
	return env.rng.IntN(odds) == 0
}

// pickReplica draws a replica that is up, and resets what was observed of it; nil if none is up.
func (env *Environment) pickReplica() *replica {
	first := env.rng.IntN(replicas)
	for i := range replicas {
		if r := env.replicas[(first+i)%replicas]; r.isUp {
			r.resetObservations()
			return r
		}
	}
	return nil
}

// Failure is a failed check, with the last lines of the trace.
type Failure struct {
	Seed  uint64
	Step  int
	Err   error
	Trace []string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d, step %d: %v\nthe last steps:\n  %s", f.Seed, f.Step, f.Err, strings.Join(f.Trace, "\n  "))
}

func (f *Failure) Unwrap() error { return f.Err }
