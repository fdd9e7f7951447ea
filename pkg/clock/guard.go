// Package clock compares this process's wall clock with the clocks of what it depends on. Tokens can only be judged by a
// clock that agrees with the one of the auth controller that issues them.
package clock

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// The references.
const (
	Store          = "store"
	AuthController = "auth_controller"
)

const (
	// Limit is by how much the wall clock may differ from a reference: the leeway of a token's expiry.
	Limit = 60 * time.Second
	// maxAge is how long a reading counts.
	maxAge = 5 * time.Minute
)

// Guard compares the wall clock with readings of reference clocks. A reading ages by the monotonic clock, so a step of the
// wall clock shows at the next question, not at the next reading. Its methods may be called at the same time.
type Guard struct {
	wall      func() time.Time
	monotonic func() time.Duration
	logger    log.Logger
	// memory is how long a token that could not be judged is remembered.
	memory time.Duration

	mu         sync.Mutex
	readings   map[string]reading
	unjudged   time.Duration // When the last token could not be judged, by the monotonic clock; below 0 for never.
	wasWrong   bool
	storeWrong bool
	recheck    func()
}

// reading is what a reference clock showed, and when by the monotonic clock.
type reading struct {
	at          time.Time
	uncertainty time.Duration
	taken       time.Duration
}

// Verdict is what the references say about the wall clock.
type Verdict struct {
	// Wrong is true when every reference contradicts the wall clock.
	Wrong bool
	// Doubtful is true if the auth controller's clock contradicts it, regardless of the store's clock.
	Doubtful bool
	// StoreWrong is true when the store's clock contradicts the wall clock and the auth controller's confirms it.
	StoreWrong bool
	// Reference is the clock that contradicts, and Offset by how much the wall clock is ahead of it.
	Reference string
	Offset    time.Duration
	// Now is the wall clock's time, and Corrected the time by the reference.
	Now, Corrected time.Time
}

// New returns a guard of wall, which is [time.Now] but in tests. memory is for how long a token that could not be judged
// keeps the service from being ready: longer than the interval of its caller's calls.
func New(wall func() time.Time, memory time.Duration, logger log.Logger) *Guard {
	began := time.Now()
	return &Guard{
		wall:      func() time.Time { return wall().Round(0) },
		monotonic: func() time.Duration { return time.Since(began) },
		logger:    logger,
		memory:    memory,
		readings:  make(map[string]reading),
		unjudged:  -1,
	}
}

// OnContradiction has recheck called when the wall clock begins to contradict the references, so that they are read again
// soon: a machine that was suspended has an old reading, not a wrong clock. It must not block.
func (g *Guard) OnContradiction(recheck func()) { g.recheck = recheck }

// MeasureBy replaces the clock by which readings age: monotonic returns the time since any moment that stays the same. It is
// to be set before the guard is used.
func (g *Guard) MeasureBy(monotonic func() time.Duration) { g.monotonic = monotonic }

// Now is the wall clock's time.
func (g *Guard) Now() time.Time { return g.wall() }

// Read records that the clock of reference showed at just now, give or take uncertainty.
func (g *Guard) Read(reference string, at time.Time, uncertainty time.Duration) {
	g.mu.Lock()
	g.readings[reference] = reading{at: at, uncertainty: uncertainty, taken: g.monotonic()}
	g.mu.Unlock()

	g.Judge()
}

// Offsets returns by how much the wall clock is ahead of each reference whose reading still counts.
func (g *Guard) Offsets() map[string]time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()

	now, mono := g.wall(), g.monotonic()
	offsets := make(map[string]time.Duration, len(g.readings))
	for reference, r := range g.readings {
		if mono-r.taken <= maxAge {
			offsets[reference] = now.Sub(r.at.Add(mono - r.taken))
		}
	}
	return offsets
}

// Judge compares the wall clock with the references, and logs when the answer changes.
func (g *Guard) Judge() Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()

	v := g.judge()
	began := v.Wrong && !g.wasWrong
	switch {
	case began:
		_ = level.Error(g.logger).Log(
			"msg", "the clock of this host is wrong: tokens cannot be judged until it is set",
			"reference", v.Reference,
			"ahead", v.Offset,
			"limit", Limit,
		)
	case !v.Wrong && g.wasWrong:
		_ = level.Info(g.logger).Log("msg", "the clock of this host is right again")
	}
	switch {
	case v.StoreWrong && !g.storeWrong:
		_ = level.Warn(g.logger).Log(
			"msg", "the clock of the store is wrong: the auth controller's confirms this host's", "ahead", v.Offset, "limit", Limit,
		)
	case !v.StoreWrong && g.storeWrong:
		_ = level.Info(g.logger).Log("msg", "the clock of the store agrees again")
	}
	g.wasWrong, g.storeWrong = v.Wrong, v.StoreWrong

	if began && g.recheck != nil {
		g.recheck()
	}
	return v
}

func (g *Guard) judge() Verdict {
	now, mono := g.wall(), g.monotonic()
	v := Verdict{Now: now, Corrected: now}
	fresh, contradicting := 0, make(map[string]time.Duration, 2)
	for reference, r := range g.readings {
		age := mono - r.taken
		if age > maxAge {
			continue
		}
		fresh++
		if offset := now.Sub(r.at.Add(age)); offset.Abs()-r.uncertainty > Limit {
			contradicting[reference] = offset
		}
	}
	if len(contradicting) == 0 {
		return v
	}

	v.Wrong = len(contradicting) == fresh
	_, v.Doubtful = contradicting[AuthController]
	v.StoreWrong = !v.Wrong && !v.Doubtful
	// The auth controller's comes first: its clock is the one in the tokens.
	v.Reference = slices.Sorted(maps.Keys(contradicting))[0]
	v.Offset = contradicting[v.Reference].Round(time.Millisecond)
	v.Corrected = now.Add(-contradicting[v.Reference])
	return v
}

// Suspect returns the verdict on a token that is about to be refused for its time, or accepted. unjudged is true when the
// token cannot be judged: refused says how the wall clock judges it, and byReference judges it at another time.
func (g *Guard) Suspect(refused bool, byReference func(now time.Time) (refused bool)) (unjudged bool) {
	v := g.Judge()
	switch {
	case !v.Wrong && !v.Doubtful:
		return false
	case refused:
	case !v.Wrong || !byReference(v.Corrected):
		return false
	}

	g.mu.Lock()
	g.unjudged = g.monotonic()
	g.mu.Unlock()
	return true
}

// Problem returns why tokens cannot be judged by this clock, empty if they can.
func (g *Guard) Problem() string {
	v := g.Judge()

	g.mu.Lock()
	isUnjudged := g.unjudged >= 0 && g.monotonic()-g.unjudged <= g.memory
	g.mu.Unlock()

	switch {
	case v.Wrong, v.Doubtful && isUnjudged:
		return describe(v)
	default:
		return ""
	}
}

func describe(v Verdict) string {
	names := map[string]string{Store: "the store's clock", AuthController: "the auth controller's clock"}
	direction := "ahead of "
	if v.Offset < 0 {
		direction = "behind "
	}
	return v.Offset.Abs().Round(time.Second).String() + " " + direction + names[v.Reference]
}
