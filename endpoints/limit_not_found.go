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

// notFoundLimiter limits NOT_FOUND responses to the rate at which the store completes registrations. Each such response takes a
// place, which becomes free when a registration has ended or after registrationSeconds.
type notFoundLimiter struct {
	now func() time.Time

	mu    sync.Mutex
	limit int
	// places has the number of places by the second in which they were taken, the latest first.
	places [registrationSeconds + 1]int
	second int64
}

func newNotFoundLimiter(now func() time.Time) *notFoundLimiter {
	return &notFoundLimiter{now: now, limit: initialNotFoundPlaces, second: now().Unix()}
}

// takePlace takes a place and reports whether there was one.
func (l *notFoundLimiter) takePlace() bool {
	l.mu.Lock()
	defer l.mu.Unlock()

	now := l.now().Unix()
	if passed := min(max(0, now-l.second), int64(len(l.places))); passed > 0 {
		copy(l.places[passed:], l.places[:])
		clear(l.places[:passed])
	}
	l.second = now

	taken := 0
	for _, n := range l.places {
		taken += n
	}
	if taken >= l.limit {
		return false
	}
	l.places[0]++
	return true
}

// releasePlace frees the place of a controller whose registration has ended, and adapts the limit.
func (l *notFoundLimiter) releasePlace(took time.Duration, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()

	for i := len(l.places) - 1; i >= 0; i-- {
		if l.places[i] > 0 {
			l.places[i]--
			break
		}
	}

	switch {
	case failed || took > slowRegistration:
		l.limit = max(minNotFoundPlaces, l.limit/2)
	case took < quickRegistration:
		l.limit = min(maxNotFoundPlaces, l.limit+1)
	}
}
