package endpoints

import (
	"sync"
	"time"
)

const (
	// returningAtOnce is how many controllers may be told at the same time that they are not registered: each of them then
	// registers, once, within 10 s, and a store takes so many registrations in a fraction of that.
	returningAtOnce = 2500
	// returningPerSecond frees the places of those that do not register at all.
	returningPerSecond = float64(returningAtOnce) / 10
)

// returning paces how many controllers learn that they are not registered. Its places follow the store's real speed: one
// is taken by each such answer, and becomes free when a registration has ended.
type returning struct {
	now func() time.Time

	mu   sync.Mutex
	free float64
	at   time.Time
}

func newReturning(now func() time.Time) *returning {
	return &returning{now: now, free: returningAtOnce, at: now()}
}

// take reports whether there was a place.
func (r *returning) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	now := r.now()
	if passed := now.Sub(r.at).Seconds(); passed > 0 {
		r.free = min(returningAtOnce, r.free+passed*returningPerSecond)
	}
	r.at = now

	if r.free < 1 {
		return false
	}
	r.free--
	return true
}

// registered frees the place of a controller whose registration has ended.
func (r *returning) registered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = min(returningAtOnce, r.free+1)
}
