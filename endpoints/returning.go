package endpoints

import (
	"sync"
	"time"
)

// Limits of how many controllers may have an open NOT_FOUND answer: each of them registers once, within 10 s. The limit starts
// with what a slow store can register within its timeout, grows with every quick registration, and is halved by every slow or
// failed one.
const (
	returningAtFirst = 200
	returningAtLeast = 100
	returningAtMost  = 2500
	// A registration is quick, or slow, measured by the bound of a store's operation (5 s).
	quickRegistration = time.Second
	slowRegistration  = 4 * time.Second
	// returningSeconds is how long a controller that got NOT_FOUND has to register.
	returningSeconds = 10
)

// returningLimit limits NOT_FOUND answers to the rate at which the store completes registrations. Each such answer takes a
// place, which becomes free when a registration has ended or after returningSeconds.
type returningLimit struct {
	now func() time.Time

	mu   sync.Mutex
	most int
	// places counts the taken places by the second in which they were taken, the latest first.
	places [returningSeconds + 1]int
	second int64
}

func newReturningLimit(now func() time.Time) *returningLimit {
	return &returningLimit{now: now, most: returningAtFirst, second: now().Unix()}
}

// take reports whether there was a place.
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

// release frees the place of a controller whose registration has ended.
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
