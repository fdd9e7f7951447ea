package endpoints

import (
	"sync"
	"time"
)

// How many controllers may be told at the same time that they are not registered: each of them then registers, once,
// within 10 s. It begins with what a slow store takes within its bound, grows with every registration that is quick, and
// halves with every one that is slow or fails.
const (
	returningAtFirst = 200
	returningAtLeast = 100
	returningAtMost  = 2500
	// A registration is quick, or slow, measured by the bound of a store's operation (5 s).
	quickRegistration = time.Second
	slowRegistration  = 4 * time.Second
	// returningSeconds is how long a controller that was told has to register.
	returningSeconds = 10
)

// returning paces how many controllers learn that they are not registered, at the speed of the store. A place is taken by
// each such answer and becomes free when a registration has ended, or when the controller has had its time.
type returning struct {
	now func() time.Time

	mu   sync.Mutex
	most int
	// told are the places by the second in which they were taken, the latest first.
	told   [returningSeconds + 1]int
	second int64
}

func newReturning(now func() time.Time) *returning {
	return &returning{now: now, most: returningAtFirst, second: now().Unix()}
}

// take reports whether there was a place.
func (r *returning) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	now := r.now().Unix()
	if passed := min(max(0, now-r.second), int64(len(r.told))); passed > 0 {
		copy(r.told[passed:], r.told[:])
		clear(r.told[:passed])
	}
	r.second = now

	taken := 0
	for _, n := range r.told {
		taken += n
	}
	if taken >= r.most {
		return false
	}
	r.told[0]++
	return true
}

// registered frees the place of a controller whose registration has ended.
func (r *returning) registered(took time.Duration, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	for i := len(r.told) - 1; i >= 0; i-- {
		if r.told[i] > 0 {
			r.told[i]--
			break
		}
	}
	switch {
	case failed || took > slowRegistration:
		r.most = max(returningAtLeast, r.most/2)
	case took < quickRegistration:
		r.most = min(returningAtMost, r.most+1)
	}
}
