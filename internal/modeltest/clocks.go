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
	// limitMs is the largest allowed error of a clock.
	limitMs = int64(time.Minute / time.Millisecond)
	// maxReadingAgeMs is the time for which a reading of a reference clock counts.
	maxReadingAgeMs = int64(5 * time.Minute / time.Millisecond)
	// dateIntervalMs is the time between two readings of the auth controller's clock.
	dateIntervalMs = int64(time.Minute / time.Millisecond)
	// With one in authOutageOdds clock steps, the auth controller goes down.
	authOutageOdds = 4
	// callMargin is the time by which a heartbeat may be later than its interval.
	callMargin = 5 * time.Second
)

// clockFaults sets the wall clocks of replicas wrong for a while. It has its own random number generator. Therefore a seed gives the same
// history with and without it until the first clock is wrong.
type clockFaults struct {
	rng *rand.Rand
	// nextStep is the time at which the next clock is set wrong.
	nextStep int64
	// authUpAt is the time from which the auth controller can be reached.
	authUpAt int64
}

func newClockFaults(seed uint64) *clockFaults {
	return &clockFaults{rng: rand.New(rand.NewPCG(seed, 2))} //nolint:gosec // A seed must give the same numbers.
}

// pickOffset draws the error of a clock in milliseconds: hours or minutes ahead, minutes behind, within the leeway, about the leeway, or
// about the store's error, which is skew.
func (c *clockFaults) pickOffset(skew int64) int64 {
	const secondMs, minuteMs, hourMs = 1000, 60_000, 3_600_000
	sign := int64(1 - 2*c.rng.IntN(2))

	switch c.rng.IntN(6) {
	case 0:
		return hourMs + c.rng.Int64N(5*hourMs)
	case 1:
		return 2*minuteMs + c.rng.Int64N(50*minuteMs)
	case 2:
		return -2*minuteMs - c.rng.Int64N(28*minuteMs)
	case 3:
		return sign * (1 + c.rng.Int64N(limitMs-secondMs))
	case 4:
		return skew + sign*c.rng.Int64N(5*secondMs)
	default:
		return sign * (limitMs - secondMs + c.rng.Int64N(4*secondMs))
	}
}

// errorDuration draws the time for which a clock is wrong: often about the tolerance, sometimes longer than a threshold.
func (c *clockFaults) errorDuration(threshold int64) int64 {
	if c.rng.IntN(2) == 0 {
		return 1 + c.rng.Int64N(2*toleranceMs)
	}
	return 1 + c.rng.Int64N(4*threshold)
}

// wallClock is the clock of a replica's host, and a model of the guard that compares it with the references. It survives a restart of the
// process. Times are true times.
type wallClock struct {
	guard *clock.Guard
	// offset is the clock's error, and correctedAt the time at which the error ends; 0 for never.
	offset, correctedAt int64
	// canReadDate is true if this process reads the auth controller's clock; nextDate is the time of the next reading.
	canReadDate bool
	nextDate    int64
	// date and store are the last readings of this process.
	date, store reading
	// unverifiedLifetime is the time for which a token that could not be verified counts, and unverifiedAt the time of the last one.
	unverifiedLifetime, unverifiedAt int64
}

// reading is the time that a reference clock showed at a true time, and by how much it may be off.
type reading struct{ shown, uncertainty, at int64 }

func (r reading) isRecent(now int64) bool { return r.at != 0 && now-r.at <= maxReadingAgeMs }

// ahead returns the reference clock's error.
func (r reading) ahead() int64 { return r.shown - r.at }

// contradicts reports whether a clock with the error offset differs from the reading by more than the leeway.
func (r reading) contradicts(offset, now int64) bool {
	by := offset - r.ahead()
	return r.isRecent(now) && max(by, -by)-r.uncertainty > limitMs
}

// compare predicts the guard's verdict. The clock is wrong if all recent readings contradict it, and contradictsAuth is true
// if the reading of the auth controller does.
func (c *wallClock) compare(now int64) (isWrong, contradictsAuth bool) {
	date, store := c.date.contradicts(c.offset, now), c.store.contradicts(c.offset, now)
	isWrong = (date || store) && date == c.date.isRecent(now) && store == c.store.isRecent(now)
	return isWrong, date
}

// expectedRefusal returns the error that a token must cause: invalid, or not verifiable because of the clock. It returns nil if the token
// must be accepted.
func (c *wallClock) expectedRefusal(t token, now int64) error {
	isRefused := t.isRefusedAt(toTime(now + c.offset))
	isWrong, contradictsAuth := c.compare(now)
	reference := c.store
	if contradictsAuth {
		reference = c.date
	}

	switch {
	case (isWrong || contradictsAuth) && isRefused, isWrong && t.isRefusedAt(toTime(now+reference.ahead())):
		return service.ErrUnavailable
	case isRefused:
		return service.ErrUnauthenticated
	}
	return nil
}

// canVouch reports whether the clock allows the replica to vouch for the service.
func (c *wallClock) canVouch(now int64) bool {
	isWrong, contradictsAuth := c.compare(now)
	return !isWrong && (!contradictsAuth || now-c.unverifiedAt > c.unverifiedLifetime)
}

// isTrusted reports whether the clock is right and the readings confirm it.
func (c *wallClock) isTrusted(now int64) bool {
	isWrong, contradictsAuth := c.compare(now)
	return c.offset == 0 && !isWrong && !contradictsAuth
}

// state returns the state of the condition "clock", as in the daemon.
func (c *wallClock) state() string {
	if problem := c.guard.Problem(); problem != "" {
		return problem
	}
	return health.StateOK
}

// startClock starts the guard of a new process. The first replica always reads the auth controller's clock. The others use only the store's
// clock after half of their starts.
func (r *replica) startClock() {
	env, c := r.env, &r.wall

	unverifiedLifetime := r.Fast + callMargin
	c.guard = clock.New(func() time.Time { return toTime(env.now + c.offset) }, unverifiedLifetime, log.NewNopLogger())
	c.guard.SetMonotonicClock(func() time.Duration { return time.Duration(env.now-epoch) * time.Millisecond })
	c.guard.OnContradiction(func() { c.nextDate = env.now })
	c.date, c.store = reading{}, reading{}
	c.unverifiedLifetime, c.unverifiedAt = unverifiedLifetime.Milliseconds(), never

	c.canReadDate = r == env.replicas[0] || env.clockFaults.rng.IntN(2) == 0
	r.readDate()
}

// readDate makes a replica read the auth controller's clock, which shows the true time in whole seconds.
func (r *replica) readDate() {
	env, c := r.env, &r.wall
	c.nextDate = env.now + dateIntervalMs
	if !c.canReadDate || env.now < env.clockFaults.authUpAt {
		return
	}

	const halfMs = 500
	c.date = reading{shown: env.now/1000*1000 + halfMs, uncertainty: halfMs, at: env.now}
	c.guard.AddReading(clock.AuthController, toTime(c.date.shown), halfMs*time.Millisecond)
}

// readStore makes a replica read the store's clock from a beat.
func (r *replica) readStore(at time.Time) {
	r.wall.store = reading{shown: r.env.databaseNow(), at: r.env.now}
	r.wall.guard.AddReading(clock.Store, at, 0)
}

// advanceClocks sets clocks wrong and right, and makes replicas read the auth controller's clock, when that is due. It is not an event, so
// that the steps of a seed keep their numbers.
func (env *Environment) advanceClocks() {
	for _, r := range env.replicas {
		if r.wall.correctedAt != 0 && r.wall.correctedAt <= env.now {
			r.wall.offset, r.wall.correctedAt = 0, 0
			env.note("the clock of %s is right", r.id)
		}
	}

	if env.clockFaults.nextStep <= env.now {
		env.stepClocks()
	}

	for _, r := range env.replicas {
		if r.isUp && r.wall.nextDate <= env.now {
			r.readDate()
		}
	}
}

// stepClocks sets the clock of one replica wrong, or the clocks of all, as if they used the same time server. Sometimes the auth controller
// goes down. The replicas then use the last reading of its clock, and later only the store's.
func (env *Environment) stepClocks() {
	c := env.clockFaults
	offset, target := c.pickOffset(env.skew), c.rng.IntN(replicas+1)
	for i, r := range env.replicas {
		if target < replicas && i != target || r.wall.offset != 0 {
			continue
		}
		r.wall.offset, r.wall.correctedAt = offset, env.now+c.errorDuration(env.threshold)
		env.note("the clock of %s is %d ms ahead for %d ms", r.id, offset, r.wall.correctedAt-env.now)
	}
	c.nextStep = env.now + 1 + c.rng.Int64N(10*env.threshold)

	if env.now >= c.authUpAt && c.rng.IntN(authOutageOdds) == 0 {
		c.authUpAt = env.now + maxReadingAgeMs/2 + c.rng.Int64N(2*maxReadingAgeMs)
		env.note("the auth controller is down for %d ms", c.authUpAt-env.now)
	}
}
