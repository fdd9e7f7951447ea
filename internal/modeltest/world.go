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

// Config is what a world is made of. The same seed over the same kind of store is the same history.
type Config struct {
	Seed  uint64
	Steps int
	// Open opens the one store of this world once more, for a replica with these settings. Its database's clock is the one
	// given.
	Open func(clock func() time.Time, s settings) (Store, error)
	// SetClock tells a database that cannot ask; nil where it asks.
	SetClock func(now time.Time) error
	// Hold has the next write that reads the database's clock wait. Reached is closed when one does, and open lets it go
	// on. nil where the database asks the clock that it was opened with, which the world can hold up itself.
	Hold func() (reached <-chan struct{}, open func() error, err error)
	// Backup copies the store; nil where that is not done.
	Backup func() (Backup, error)
}

const (
	replicas = 2
	// epoch is when worlds begin, in Unix milliseconds.
	epoch = 1_900_000_000_000
	// lostAnswers is one in how many calls is committed and reported as failed, and slowTicks one in how many ticks is
	// late; while the weather is good, rarer by goodWeather.
	lostAnswers = 40
	slowTicks   = 60
	goodWeather = 10
	// The history is read at least, and the whole fleet compared, every so many steps.
	historyEvery = 16
	fleetEvery   = 64
)

// thresholds are the usual one, and shorter ones, with which more happens in as many steps.
var thresholds = []int64{30_000, 15_000, 8_000}

// World is a fleet, its Global Controllers and their store.
type World struct {
	cfg  Config
	dice *rand.Rand
	// now is the world's time in Unix milliseconds, and skew by how much the database's clock is ahead.
	now, skew int64
	// threshold is how long a controller may be silent, in milliseconds.
	threshold int64
	replicas  []*replica
	fleet     []*controller // In the order of their ids.
	processes []*process
	serial    int64
	// floor is above every generation of a controller that left.
	floor    int64
	promises promises
	policy   policy
	// down is a store that nobody reaches; downUntil and the like are when something is over, 0 for never.
	down      bool
	downUntil int64
	// readOnly is a store that answers and takes no writes; locked are controllers whose rows are locked, until when.
	readOnly      bool
	readOnlyUntil int64
	locked        map[string]int64
	cutUntil      [replicas]int64
	upAt          [replicas]int64
	nextAction    int64
	// bad is weather in which trouble comes one after the other, until nextWeather.
	bad         bool
	nextWeather int64
	// eye reads the store as the world's outside observer, and has no outages.
	eye      Store
	lastID   int64
	expected []service.Transition
	grouping bool
	gate     atomic.Pointer[gate]
	observed sync.Mutex
	trace    trace
	restores *restores
	clocks   *clocks
}

// Run lives through one history. It returns a [*Failure] when a promise was broken, and the hash of all that happened.
func Run(cfg Config) (hash uint64, err error) {
	w := &World{
		cfg:      cfg,
		dice:     rand.New(rand.NewPCG(cfg.Seed, 0)), //nolint:gosec // It has to be foreseeable.
		now:      epoch,
		restores: newRestores(cfg.Seed),
		clocks:   newClocks(cfg.Seed),
	}
	defer func() { err = errors.Join(err, w.close()) }()
	step := 0
	failed := func(err error) error {
		return &Failure{Seed: cfg.Seed, Step: step, Err: err, Trace: w.trace.last()}
	}
	if err := w.begin(); err != nil {
		return 0, failed(err)
	}
	for step = 1; step <= cfg.Steps; step++ {
		if err := w.step(step); err != nil {
			return 0, failed(err)
		}
	}
	if err := w.checkEverything(); err != nil {
		return 0, failed(err)
	}
	return w.trace.hash, nil
}

func (w *World) begin() (err error) {
	w.trace, w.threshold = newTrace(), pick(w, thresholds)
	if err := w.tellClock(); err != nil {
		return err
	}
	if w.eye, err = w.cfg.Open(w.databaseTime, settings{}); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	w.promises, w.policy, w.locked = newPromises(w.threshold, w.now), newPolicy(), map[string]int64{}
	for i := range replicas {
		r := &replica{world: w, id: fmt.Sprintf("gc-%d", i), settings: w.settingsFor(1)}
		w.replicas = append(w.replicas, r)
		if err := r.start(); err != nil {
			return err
		}
		r.nextBeat = w.now + w.dice.Int64N(1000)
	}
	for i := range 8 + w.dice.IntN(5) {
		w.fleet = append(w.fleet, &controller{id: fmt.Sprintf("mc-%02d", i), floor: &w.floor})
	}
	w.nextAction, w.nextWeather = w.now, w.now+1
	w.clocks.nextStep = w.now + 1 + w.clocks.dice.Int64N(10*w.threshold)
	return nil
}

func (w *World) close() error {
	var errs []error
	for _, r := range w.replicas {
		if r.up {
			errs = append(errs, r.stop())
		}
	}
	if w.eye != nil {
		errs = append(errs, w.eye.Close())
	}
	return errors.Join(errs...)
}

// settingsFor are settings with the world's threshold, times so many.
func (w *World) settingsFor(times int64) settings {
	threshold := time.Duration(times*w.threshold) * time.Millisecond
	return settings{service.Intervals{Fast: threshold / 3, Comprehensive: threshold}, threshold}
}

// time is what processes take the time to be.
func (w *World) time() time.Time { return time.UnixMilli(w.now).UTC() }

// clock is the database's, in Unix milliseconds.
func (w *World) clock() int64 { return w.now + w.skew }

func (w *World) databaseTime() time.Time {
	if g := w.gate.Swap(nil); g != nil {
		g.pass()
	}
	return time.UnixMilli(w.clock()).UTC()
}

func (w *World) tellClock() error {
	if w.cfg.SetClock == nil {
		return nil
	}
	return w.cfg.SetClock(w.databaseTime())
}

// event is something that is due. Of those due at once, the one found first comes first.
type event struct {
	at int64
	do func() error
}

func (w *World) step(n int) error {
	e := w.next()
	if e.at > w.now {
		w.now = e.at
		if err := w.tellClock(); err != nil {
			return err
		}
	}
	w.advanceClocks()
	if err := e.do(); err != nil {
		return err
	}
	w.promises.serviceable(w.serviceable(), w.now, w.clock())
	if len(w.expected) > 0 || n%historyEvery == 0 {
		if err := w.checkHistory(); err != nil {
			return err
		}
	}
	if n%fleetEvery == 0 {
		if err := w.checkFleet(); err != nil {
			return err
		}
	}
	return w.checkRestores(n)
}

// next finds what is due next.
func (w *World) next() event {
	e := event{w.nextAction, w.act}
	consider := func(at int64, do func() error) {
		if at != 0 && at < e.at {
			e = event{at, do}
		}
	}
	consider(w.nextWeather, w.weather)
	consider(w.downUntil, w.endOutage)
	consider(w.readOnlyUntil, w.endReadOnly)
	for i, r := range w.replicas {
		consider(w.cutUntil[i], func() error { return w.mend(i) })
		consider(w.upAt[i], func() error { return w.startReplica(i) })
		consider(r.nextBeat, func() error { return w.beatOf(r) })
		consider(r.nextSweep, func() error { return w.sweepOf(r) })
		consider(r.nextRemoval, func() error { return w.removalOf(r) })
	}
	for _, p := range w.processes {
		consider(p.next, func() error { return w.live(p) })
	}
	return e
}

// serviceable reports whether a replica could judge and commit a heartbeat now.
func (w *World) serviceable() bool {
	return !w.down && !w.readOnly && slices.ContainsFunc(w.replicas, func(r *replica) bool {
		isWrong, _ := r.wall.compare(w.now)
		return r.up && !r.cut && !isWrong
	})
}

// rarely is one time in so many, and rarer while the weather is good.
func (w *World) rarely(one int) bool {
	if !w.bad {
		one *= goodWeather
	}
	return w.dice.IntN(one) == 0
}

// anyReplica is one that takes calls; nil when none does.
func (w *World) anyReplica() *replica {
	first := w.dice.IntN(replicas)
	for i := range replicas {
		if r := w.replicas[(first+i)%replicas]; r.up {
			r.begin()
			return r
		}
	}
	return nil
}

// Failure is a broken promise, and what led to it.
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
