// Package clock compares this host's wall clock with reference clocks: the store's and the auth controller's. The times of a token
// can be verified only by a clock that agrees with the clock of the auth controller that issues it.
package clock

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// Names of the reference clocks.
const (
	Store          = "store"
	AuthController = "auth_controller"
)

const (
	// Limit is the largest allowed difference between the wall clock and a reference: the leeway of a token's expiry.
	Limit = 60 * time.Second
	// maxAge is the time for which a reading counts.
	maxAge = 5 * time.Minute
)

// Guard compares the wall clock with readings of reference clocks. Readings age by the monotonic clock, so the next call detects a step
// of the wall clock, before the next reading. Its methods are safe for concurrent use.
type Guard struct {
	wall      func() time.Time
	monotonic func() time.Duration
	logger    log.Logger
	// unverifiedLifetime is the time for which a token that could not be verified counts.
	unverifiedLifetime time.Duration

	mu            sync.Mutex
	readings      map[string]reading
	unverifiedAt  time.Duration // monotonic time of the last token that could not be verified; negative if there was none
	wasWrong      bool          // the wall clock was wrong by the last Evaluate
	wasStoreWrong bool          // the store's clock was wrong by the last Evaluate
	recheck       func()
}

// reading is one reading of a reference clock.
type reading struct {
	at          time.Time     // the time that the reference clock showed
	uncertainty time.Duration // at may be off by this much
	takenAt     time.Duration // monotonic time of the reading
}

// Verdict is the result of comparing the wall clock with the references.
type Verdict struct {
	// IsWrong is true if every reference contradicts the wall clock.
	IsWrong bool
	// ContradictsAuthController is true if the auth controller's clock contradicts the wall clock, whatever the store's clock shows.
	ContradictsAuthController bool
	// IsStoreWrong is true if the store's clock contradicts the wall clock and the auth controller's clock confirms it.
	IsStoreWrong bool
	// Reference is the clock that contradicts the wall clock, and Offset the time by which the wall clock is ahead of it.
	Reference string
	Offset    time.Duration
	// Now is the wall clock's time, and Corrected the same moment by the reference clock.
	Now, Corrected time.Time
}

// New returns a guard of the clock wall: [time.Now], except in tests. For unverifiedLifetime after a token that could not be verified, the
// replica is not ready. It must be longer than the interval between a caller's calls.
func New(wall func() time.Time, unverifiedLifetime time.Duration, logger log.Logger) *Guard {
	began := time.Now()
	return &Guard{
		wall:               func() time.Time { return wall().Round(0) },
		monotonic:          func() time.Duration { return time.Since(began) },
		logger:             logger,
		unverifiedLifetime: unverifiedLifetime,
		readings:           make(map[string]reading),
		unverifiedAt:       -1,
	}
}

// OnContradiction sets a function to call when the wall clock starts to contradict the references. The function must request new readings
// and must not block. After a suspension, the machine has old readings, not a wrong clock.
func (g *Guard) OnContradiction(recheck func()) { g.recheck = recheck }

// SetMonotonicClock replaces the clock by which readings age. monotonic returns the time since a fixed moment. Call SetMonotonicClock
// before any other method.
func (g *Guard) SetMonotonicClock(monotonic func() time.Duration) { g.monotonic = monotonic }

// Now returns the wall clock's time.
func (g *Guard) Now() time.Time { return g.wall() }

// AddReading records that the clock of reference shows the time at now, and may be off by uncertainty.
func (g *Guard) AddReading(reference string, at time.Time, uncertainty time.Duration) {
	g.mu.Lock()
	g.readings[reference] = reading{at: at, uncertainty: uncertainty, takenAt: g.monotonic()}
	g.mu.Unlock()

	g.Evaluate()
}

// Offsets returns the time by which the wall clock is ahead of each reference whose reading still counts.
func (g *Guard) Offsets() map[string]time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()

	now, mono := g.wall(), g.monotonic()
	offsets := make(map[string]time.Duration, len(g.readings))
	for reference, r := range g.readings {
		if mono-r.takenAt <= maxAge {
			offsets[reference] = now.Sub(r.at.Add(mono - r.takenAt))
		}
	}
	return offsets
}

// Evaluate compares the wall clock with the references, and logs a line when the verdict changes.
func (g *Guard) Evaluate() Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()

	v := g.compare()
	hasBecomeWrong := v.IsWrong && !g.wasWrong
	g.logChanges(v)
	g.wasWrong, g.wasStoreWrong = v.IsWrong, v.IsStoreWrong

	if hasBecomeWrong && g.recheck != nil {
		g.recheck()
	}
	return v
}

// logChanges logs where the verdict differs from the last one.
func (g *Guard) logChanges(v Verdict) {
	switch {
	case v.IsWrong && !g.wasWrong:
		_ = level.Error(g.logger).Log(
			"msg", "the clock of this host is wrong: tokens cannot be verified; synchronize it by NTP",
			"reference", v.Reference,
			"ahead", v.Offset,
			"limit", Limit,
		)
	case !v.IsWrong && g.wasWrong:
		_ = level.Info(g.logger).Log("msg", "the clock of this host is right again")
	}

	switch {
	case v.IsStoreWrong && !g.wasStoreWrong:
		_ = level.Warn(g.logger).Log(
			"msg", "the clock of the store is wrong: the auth controller's clock confirms this host's; synchronize the store's by NTP",
			"ahead", v.Offset,
			"limit", Limit,
		)
	case !v.IsStoreWrong && g.wasStoreWrong:
		_ = level.Info(g.logger).Log("msg", "the clock of the store agrees again")
	}
}

func (g *Guard) compare() Verdict {
	now, mono := g.wall(), g.monotonic()

	recent := 0
	contradicting := make(map[string]time.Duration, 2)
	for reference, r := range g.readings {
		age := mono - r.takenAt
		if age > maxAge {
			continue
		}
		recent++
		if offset := now.Sub(r.at.Add(age)); offset.Abs()-r.uncertainty > Limit {
			contradicting[reference] = offset
		}
	}

	v := Verdict{Now: now, Corrected: now}
	if len(contradicting) == 0 {
		return v
	}

	v.IsWrong = len(contradicting) == recent
	_, v.ContradictsAuthController = contradicting[AuthController]
	v.IsStoreWrong = !v.IsWrong && !v.ContradictsAuthController
	// The auth controller's clock comes first, because it sets the times in the tokens.
	v.Reference = slices.Sorted(maps.Keys(contradicting))[0]
	v.Offset = contradicting[v.Reference].Round(time.Millisecond)
	v.Corrected = now.Add(-contradicting[v.Reference])
	return v
}

// CheckToken reports whether a token cannot be verified, because the verdict on the wall clock makes the result unreliable. isRefused is
// the result by the wall clock. isRefusedAt returns the result at another time. CheckToken records a token that cannot be verified, for
// [Guard.Problem].
func (g *Guard) CheckToken(isRefused bool, isRefusedAt func(now time.Time) bool) (isUnverifiable bool) {
	v := g.Evaluate()
	if !v.IsWrong && !v.ContradictsAuthController {
		return false
	}
	// A wrong clock may also accept an expired token. A clock that the store confirms and the auth controller contradicts may only refuse a
	// valid one.
	if !isRefused && (!v.IsWrong || !isRefusedAt(v.Corrected)) {
		return false
	}

	g.mu.Lock()
	g.unverifiedAt = g.monotonic()
	g.mu.Unlock()
	return true
}

// Problem returns why tokens cannot be verified by this clock, or an empty string if they can.
func (g *Guard) Problem() string {
	v := g.Evaluate()

	g.mu.Lock()
	hasUnverified := g.unverifiedAt >= 0 && g.monotonic()-g.unverifiedAt <= g.unverifiedLifetime
	g.mu.Unlock()

	if v.IsWrong || v.ContradictsAuthController && hasUnverified {
		return describeOffset(v)
	}
	return ""
}

func describeOffset(v Verdict) string {
	names := map[string]string{Store: "the store's clock", AuthController: "the auth controller's clock"}
	direction := "ahead of "
	if v.Offset < 0 {
		direction = "behind "
	}
	return v.Offset.Abs().Round(time.Second).String() + " " + direction + names[v.Reference]
}
