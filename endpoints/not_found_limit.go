package endpoints

import (
	"sync"
	"time"
)

// Limits of the number of open NOT_FOUND responses: after each of them a controller registers once, within 10 s. The limit starts
// with the number that a slow store can register within its timeout. Every quick registration increments it, and every slow or
// failed one halves it.
const (
	returningAtFirst = 200
	returningAtLeast = 100
	returningAtMost  = 2500
	// Quick and slow relate to the timeout of a store's operation (5 s).
	quickRegistration = time.Second
	slowRegistration  = 4 * time.Second
	// registrationSeconds is the time in which a controller registers after NOT_FOUND.
	returningSeconds = 10
)

// notFoundLimit limits NOT_FOUND responses to the rate at which the store completes registrations. Each such response takes a
// place, which becomes free when a registration has ended or after registrationSeconds.
type returningLimit struct {
	now func() time.Time

	mu   sync.Mutex
	most int
	// places has the number of places by the second in which they were taken, the latest first.
	places [returningSeconds + 1]int
	second int64
}

func newReturningLimit(now func() time.Time) *returningLimit {
	return &returningLimit{now: now, most: returningAtFirst, second: now().Unix()}
}

// takePlace takes a place and reports whether there was one.
func (r *returningLimit) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	now := r.now().Unix()
	if passed := min(max(0, now-r.second), int64(len(r.places))); passed > 0 {
		copy(r.places[passed:], r.places[:])
		clear(r.places[:passed])
	}
	r.second = now

	taken := 0
	for _, n := range r.places {
		taken += n
	}
	if taken >= r.most {
		return false
	}
	r.places[0]++
	return true
}

// releasePlace frees the place of a controller whose registration has ended, and adapts the limit.
func (r *returningLimit) release(took time.Duration, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	for i := len(r.places) - 1; i >= 0; i-- {
		if r.places[i] > 0 {
			r.places[i]--
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
