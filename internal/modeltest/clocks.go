package modeltest

import (
	"math/rand/v2"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/pkg/clock"
	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/service"
)

const (
	// limitMs is by how much a clock may be wrong.
	limitMs = int64(time.Minute / time.Millisecond)
	// readingMs is how long a reading of another clock counts, and datesMs how far apart those of the auth controller's are.
	readingMs = int64(5 * time.Minute / time.Millisecond)
	datesMs   = int64(time.Minute / time.Millisecond)
	// datesLost is with one in how many steps of a clock the auth controller goes down.
	datesLost = 4
	// callMargin is how much later than its interval a heartbeat may come.
	callMargin = 5 * time.Second
)

// clocks sets the wall clocks of replicas wrong for a while. It has dice of its own: until the first clock is wrong a seed is
// the same history with and without it.
type clocks struct {
	dice *rand.Rand
	// nextStep is when the next clock is set wrong.
	nextStep int64
	// datesFrom is from when on the auth controller can be reached again.
	datesFrom int64
}

func newClocks(seed uint64) *clocks {
	return &clocks{dice: rand.New(rand.NewPCG(seed, 2))} //nolint:gosec // It has to be foreseeable.
}

// offset is by how much a clock is set wrong, in milliseconds: hours or minutes ahead, minutes behind, within the leeway, about
// as much as the leeway, or about as much as the store's, which is ahead by skew.
func (c *clocks) offset(skew int64) int64 {
	const secondMs, minuteMs, hourMs = 1000, 60_000, 3_600_000
	sign := int64(1 - 2*c.dice.IntN(2))
	switch c.dice.IntN(6) {
	case 0:
		return hourMs + c.dice.Int64N(5*hourMs)
	case 1:
		return 2*minuteMs + c.dice.Int64N(50*minuteMs)
	case 2:
		return -2*minuteMs - c.dice.Int64N(28*minuteMs)
	case 3:
		return sign * (1 + c.dice.Int64N(limitMs-secondMs))
	case 4:
		return skew + sign*c.dice.Int64N(5*secondMs)
	default:
		return sign * (limitMs - secondMs + c.dice.Int64N(4*secondMs))
	}
}

// lasting is how long a clock stays wrong: often about as long as an outage goes unnoticed, sometimes longer than a threshold.
func (c *clocks) lasting(threshold int64) int64 {
	if c.dice.IntN(2) == 0 {
		return 1 + c.dice.Int64N(2*toleranceMs)
	}
	return 1 + c.dice.Int64N(4*threshold)
}

// wallClock is a replica's clock, and what an observer expects of the guard that compares it. It belongs to the host, so it
// outlives the process. Times are the world's.
type wallClock struct {
	guard *clock.Guard
	// offset is by how much it is ahead in truth, and rightAt when that ends; 0 for never.
	offset, rightAt int64
	// readsDate is whether this process learns the auth controller's time, and nextDate when it does.
	readsDate bool
	nextDate  int64
	// date and store are the last readings of this process.
	date, store reading
	memory      int64
	unjudgedAt  int64
}

// reading is what another clock showed, give or take uncertainty, and when.
type reading struct{ shown, uncertainty, at int64 }

func (r reading) isRecent(now int64) bool { return r.at != 0 && now-r.at <= readingMs }

// ahead is by how much the other clock was ahead of the world's.
func (r reading) ahead() int64 { return r.shown - r.at }

// contradicts reports whether a clock that is ahead by offset differs from the reading by more than the leeway.
func (r reading) contradicts(offset, now int64) bool {
	by := offset - r.ahead()
	return r.isRecent(now) && max(by, -by)-r.uncertainty > limitMs
}

// compare is what the readings say: the clock is wrong when all contradict it, and doubtful when the auth controller's does.
func (c *wallClock) compare(now int64) (isWrong, isDoubtful bool) {
	date, store := c.date.contradicts(c.offset, now), c.store.contradicts(c.offset, now)
	isWrong = (date || store) && date == c.date.isRecent(now) && store == c.store.isRecent(now)
	return isWrong, date
}

// refusal returns how a token has to be refused: as invalid, or for the clock's sake; nil when it has to be accepted.
func (c *wallClock) refusal(t token, now int64) error {
	isRefused := t.isRefusedAt(instant(now + c.offset))
	isWrong, isDoubtful := c.compare(now)
	reference := c.store
	if isDoubtful {
		reference = c.date
	}
	switch {
	case (isWrong || isDoubtful) && isRefused, isWrong && t.isRefusedAt(instant(now+reference.ahead())):
		return service.ErrUnavailable
	case isRefused:
		return service.ErrUnauthenticated
	}
	return nil
}

// vouches reports whether the clock lets the replica vouch for the service.
func (c *wallClock) vouches(now int64) bool {
	isWrong, isDoubtful := c.compare(now)
	return !isWrong && (!isDoubtful || now-c.unjudgedAt > c.memory)
}

// isTrusted reports whether the clock is right, and the readings say so.
func (c *wallClock) isTrusted(now int64) bool {
	isWrong, isDoubtful := c.compare(now)
	return c.offset == 0 && !isWrong && !isDoubtful
}

// state is the daemon's condition of the clock.
func (c *wallClock) state() string {
	if problem := c.guard.Problem(); problem != "" {
		return problem
	}
	return health.StateOK
}

// startClock begins what a process knows of its clock. The first replica always learns the auth controller's time, the others
// go by the store's clock alone after half of their starts.
func (r *replica) startClock() {
	w, c := r.world, &r.wall
	memory := r.Fast + callMargin
	c.guard = clock.New(func() time.Time { return instant(w.now + c.offset) }, memory, log.NewNopLogger())
	c.guard.MeasureBy(func() time.Duration { return time.Duration(w.now-epoch) * time.Millisecond })
	c.guard.OnContradiction(func() { c.nextDate = w.now })
	c.date, c.store, c.memory, c.unjudgedAt = reading{}, reading{}, memory.Milliseconds(), never

	c.readsDate = r == w.replicas[0] || w.clocks.dice.IntN(2) == 0
	r.readDate()
}

// readDate has a replica learn the auth controller's time, which is the world's, cut to the second.
func (r *replica) readDate() {
	w, c := r.world, &r.wall
	c.nextDate = w.now + datesMs
	if !c.readsDate || w.now < w.clocks.datesFrom {
		return
	}
	const halfMs = 500
	c.date = reading{shown: w.now/1000*1000 + halfMs, uncertainty: halfMs, at: w.now}
	c.guard.Read(clock.AuthController, instant(c.date.shown), halfMs*time.Millisecond)
}

// readStore has a replica learn the store's time from a beat.
func (r *replica) readStore(at time.Time) {
	r.wall.store = reading{shown: r.world.clock(), at: r.world.now}
	r.wall.guard.Read(clock.Store, at, 0)
}

// advanceClocks sets the clocks wrong and right that are due, and has the auth controller's read. It is no event of its own, so
// that steps keep their numbers.
func (w *World) advanceClocks() {
	for _, r := range w.replicas {
		if r.wall.rightAt != 0 && r.wall.rightAt <= w.now {
			r.wall.offset, r.wall.rightAt = 0, 0
			w.note("the clock of %s is right", r.id)
		}
	}
	if w.clocks.nextStep <= w.now {
		w.stepClocks()
	}
	for _, r := range w.replicas {
		if r.up && r.wall.nextDate <= w.now {
			r.readDate()
		}
	}
}

// stepClocks sets the clock of one replica wrong, or that of all, which follow the same time server. Now and then the auth
// controller goes down: the replicas then go by what they read of its clock before, and later by the store's alone.
func (w *World) stepClocks() {
	c := w.clocks
	offset, only := c.offset(w.skew), c.dice.IntN(replicas+1)
	for i, r := range w.replicas {
		if only < replicas && i != only || r.wall.offset != 0 {
			continue
		}
		r.wall.offset, r.wall.rightAt = offset, w.now+c.lasting(w.threshold)
		w.note("the clock of %s is %d ms ahead for %d ms", r.id, offset, r.wall.rightAt-w.now)
	}
	c.nextStep = w.now + 1 + c.dice.Int64N(10*w.threshold)

	if w.now >= c.datesFrom && c.dice.IntN(datesLost) == 0 {
		c.datesFrom = w.now + readingMs/2 + c.dice.Int64N(2*readingMs)
		w.note("the auth controller is down for %d ms", c.datesFrom-w.now)
	}
}
