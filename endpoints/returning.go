package endpoints

import (
	"sync"
	"time"
)

// How many controllers may be told at the same time that they are not registered: each of them then registers, once,
// within 10 s. It begins with what a slow store takes within its bound, grows with every registration that is quick, and
// halves with every one that is slow or fails.
const (
	returningAtFirst = 500
	returningAtLeast = 100
	returningAtMost  = 2500
	// A registration is quick, or slow, measured by the bound of a store's operation (5 s).
	quickRegistration = 2 * time.Second
	slowRegistration  = 4 * time.Second
	// returningTime is how long a controller that was told has to register.
	returningTime = 10 * time.Second
)

// returning paces how many controllers learn that they are not registered, at the speed of the store. A place is taken by
// each such answer and becomes free when a registration has ended, or with time.
type returning struct {
	now func() time.Time

	mu    sync.Mutex
	most  float64
	taken float64
	at    time.Time
}

func newReturning(now func() time.Time) *returning {
	return &returning{now: now, most: returningAtFirst, at: now()}
}

// take reports whether there was a place.
func (r *returning) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	// Those that do not register at all give up their places.
	now := r.now()
	if passed := now.Sub(r.at); passed > 0 {
		r.taken = max(0, r.taken-passed.Seconds()/returningTime.Seconds()*r.most)
	}
	r.at = now

	if r.taken+1 > r.most {
		return false
	}
	r.taken++
	return true
}

// registered frees the place of a controller whose registration has ended.
func (r *returning) registered(took time.Duration, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	r.taken = max(0, r.taken-1)
	switch {
	case failed || took > slowRegistration:
		r.most = max(returningAtLeast, r.most/2)
	case took < quickRegistration:
		r.most = min(returningAtMost, r.most+1)
	}
}
