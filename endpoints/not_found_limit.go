package endpoints

import (
	"sync"
	"time"
)

// Limits of the number of open NOT_FOUND responses: after each of them a controller registers once, within 10 s. The limit starts
// with the number that a slow store can register within its timeout. Every quick registration increments it, and every slow or
// failed one halves it.
const (
	initialNotFoundPlaces = 200
	minNotFoundPlaces     = 100
	maxNotFoundPlaces     = 2500
	// Quick and slow relate to the timeout of a store's operation (5 s).
	quickRegistration = time.Second
	slowRegistration  = 4 * time.Second
	// registrationSeconds is the time in which a controller registers after NOT_FOUND.
	registrationSeconds = 10
)

// notFoundLimit limits NOT_FOUND responses to the rate at which the store completes registrations. Each such response takes a
// place, which becomes free when a registration has ended or after registrationSeconds.
type notFoundLimit struct {
	now func() time.Time

	mu    sync.Mutex
	limit int
	// places has the number of places by the second in which they were taken, the latest first.
	places [registrationSeconds + 1]int
	second int64
}

func newNotFoundLimit(now func() time.Time) *notFoundLimit {
	return &notFoundLimit{now: now, limit: initialNotFoundPlaces, second: now().Unix()}
}

// takePlace takes a place and reports whether there was one.
func (r *notFoundLimit) takePlace() bool {
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
	if taken >= r.limit {
		return false
	}
	r.places[0]++
	return true
}

// releasePlace frees the place of a controller whose registration has ended, and adapts the limit.
func (r *notFoundLimit) releasePlace(took time.Duration, failed bool) {
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
		r.limit = max(minNotFoundPlaces, r.limit/2)
	case took < quickRegistration:
		r.limit = min(maxNotFoundPlaces, r.limit+1)
	}
}
