package endpoints

import (
	"fmt"
	"hash/maphash"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// maxBuckets limits the memory of a limiter. A caller whose bucket was evicted starts with a full one.
	maxBuckets = 16384
	// addressVerifications is the number of tokens per second that are still verified for an address that has used up its failed
	// authentications. A signature costs about 55 µs, so this is about a twentieth of a core.
	addressVerifications = 1000
	// allVerifications is the same limit for all such addresses together.
	allVerifications = 4000
)

// quota is a kind of limit. A caller has a bucket for each quota, so that one that is used up does not affect the others.
type quota uint8

const (
	// failedAuthentications counts the failed authentications of an address.
	failedAuthentications quota = iota
	// spareVerifications counts verifications for an address that has used up its failed authentications.
	spareVerifications
	// creations counts the controllers that a subject creates. Registrations of registered controllers are not charged.
	creations
	// unknownControllers counts a subject's heartbeats for controllers that are not registered. Each leads to a registration.
	unknownControllers
	// otherCalls counts all other calls that a subject is charged for.
	otherCalls
)

// Limiter gives each caller a token bucket for each quota. A bucket fills at perMinute and holds as many calls. The bucket for
// creations holds as many as a subject may own controllers. So a fleet whose table was lost can register again at once.
type Limiter struct {
	perMinute  int
	perSubject int // 0: unlimited.
	buckets    *lru.Cache[bucketKey, *rate.Limiter]
	seed       maphash.Seed
	now        func() time.Time
}

// bucketKey identifies a caller by a hash: a subject may be as long as a token, and hashing it allocates nothing. The seed is
// secret, so that no client can search for a subject that shares another subject's bucket.
type bucketKey struct {
	caller uint64
	quota  quota
}

// NewLimiter returns a limiter; perMinute must be above 0.
func NewLimiter(perMinute int, now func() time.Time) (*Limiter, error) {
	return NewCallerLimiter(perMinute, 0, now)
}

// NewCallerLimiter returns a limiter for token subjects, each of which may own perSubject controllers; 0 is unlimited.
func NewCallerLimiter(perMinute, perSubject int, now func() time.Time) (*Limiter, error) {
	buckets, err := lru.New[bucketKey, *rate.Limiter](maxBuckets)
	if err != nil {
		return nil, fmt.Errorf("make limiter: %w", err)
	}
	return &Limiter{
		perMinute:  perMinute,
		perSubject: perSubject,
		buckets:    buckets,
		seed:       maphash.MakeSeed(),
		now:        now,
	}, nil
}

// allow takes one call from the caller's bucket and reports whether there was one.
func (l *Limiter) allow(q quota, caller string) bool {
	key := l.keyOf(q, caller)
	bucket, ok := l.buckets.Get(key)
	if !ok {
		bucket = l.newBucket(q)
		// Two concurrent first calls may both make a bucket; the first one stays.
		if existing, ok, _ := l.buckets.PeekOrAdd(key, bucket); ok {
			bucket = existing
		}
	}
	return bucket.AllowN(l.now(), 1)
}

// isExhausted reports whether a call would be refused, without taking one.
func (l *Limiter) isExhausted(q quota, caller string) bool {
	bucket, ok := l.buckets.Get(l.keyOf(q, caller))
	return ok && bucket.TokensAt(l.now()) < 1
}

func (l *Limiter) keyOf(q quota, caller string) bucketKey {
	return bucketKey{maphash.String(l.seed, caller), q}
}

// newBucket returns a full bucket.
func (l *Limiter) newBucket(q quota) *rate.Limiter {
	perSecond := rate.Limit(float64(l.perMinute) / 60)
	switch q {
	case spareVerifications:
		return rate.NewLimiter(addressVerifications, addressVerifications)
	case creations:
		return rate.NewLimiter(perSecond, l.creationLimit())
	case unknownControllers:
		// A controller that gets NOT_FOUND may register up to 10 s later, so up to 10 s' worth of registrations can arrive together.
		// Allow one sixth of a minute's calls fewer NOT_FOUND responses than registrations.
		return rate.NewLimiter(perSecond, max(1, l.creationLimit()-l.perMinute/6))
	default:
		return rate.NewLimiter(perSecond, l.perMinute)
	}
}

// creationLimit returns the number of controllers that a subject may create at once.
func (l *Limiter) creationLimit() int { return max(l.perMinute, l.perSubject) }
