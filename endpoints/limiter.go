package endpoints

import (
	"fmt"
	"hash/maphash"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// rememberedAllowances bounds the memory of a limiter. A caller that is forgotten starts with a full allowance.
	rememberedAllowances = 16384
	// addressVerifications is how many tokens a second are still verified for an address that has used up its failures:
	// a signature costs some 55 µs, so this is about a twentieth of a core.
	addressVerifications = 1000
	// allVerifications is the same for all such addresses together.
	allVerifications = 4000
)

// use is what an allowance is for. A caller has one for each, so that what is used up of one leaves the others whole.
type use uint8

const (
	// failedAuthentications are an address's.
	failedAuthentications use = iota
	// spareVerifications are made for an address that has used up its failed authentications.
	spareVerifications
	// registrations are the controllers that a subject creates. Registrations of registered controllers are not charged.
	registrations
	// strangers are a subject's heartbeats for nobody, each of which leads to a registration.
	strangers
	// otherCalls are what else a subject is charged for.
	otherCalls
)

// Limiter gives each caller an allowance for each use; it fills at perMinute and holds as many calls. The allowance for
// registrations holds as many as a subject may own controllers, so that a fleet that lost its table can register again at once.
type Limiter struct {
	perMinute  int
	perSubject int // 0: unlimited
	allowances *lru.Cache[allowance, *rate.Limiter]
	seed       maphash.Seed
	now        func() time.Time
}

// allowance names a caller by a hash: a subject may be as long as a token, and hashing it allocates nothing. The seed is
// secret, so nobody can look for a subject that shares somebody's allowance.
type allowance struct {
	caller uint64
	use    use
}

// NewLimiter returns a limiter; perMinute is above 0.
func NewLimiter(perMinute int, now func() time.Time) (*Limiter, error) {
	return NewCallerLimiter(perMinute, 0, now)
}

// NewCallerLimiter returns a limiter for token subjects, each of which may own perSubject controllers; 0 is unlimited.
func NewCallerLimiter(perMinute, perSubject int, now func() time.Time) (*Limiter, error) {
	allowances, err := lru.New[allowance, *rate.Limiter](rememberedAllowances)
	if err != nil {
		return nil, fmt.Errorf("make limiter: %w", err)
	}
	return &Limiter{perMinute: perMinute, perSubject: perSubject, allowances: allowances, seed: maphash.MakeSeed(), now: now}, nil
}

// take uses one call of the caller's allowance and tells whether there was one.
func (l *Limiter) take(u use, caller string) bool {
	key := l.key(u, caller)
	bucket, ok := l.allowances.Get(key)
	if !ok {
		bucket = l.full(u)
		// Two calls that come first at the same time may both make one; the first stays.
		if held, ok, _ := l.allowances.PeekOrAdd(key, bucket); ok {
			bucket = held
		}
	}
	return bucket.AllowN(l.now(), 1)
}

// exhausted tells whether a call would be refused, and uses nothing.
func (l *Limiter) exhausted(u use, caller string) bool {
	bucket, ok := l.allowances.Get(l.key(u, caller))
	return ok && bucket.TokensAt(l.now()) < 1
}

func (l *Limiter) key(u use, caller string) allowance {
	return allowance{maphash.String(l.seed, caller), u}
}

func (l *Limiter) full(u use) *rate.Limiter {
	perSecond := rate.Limit(float64(l.perMinute) / 60)
	switch u {
	case spareVerifications:
		return rate.NewLimiter(addressVerifications, addressVerifications)
	case registrations:
		return rate.NewLimiter(perSecond, l.creationLimit())
	case strangers:
		// A controller that gets NOT_FOUND may register up to 10 s later, so the registrations of 10 s can arrive together.
		// Allow one sixth fewer NOT_FOUND answers than registrations.
		return rate.NewLimiter(perSecond, max(1, l.creationLimit()-l.perMinute/6))
	default:
		return rate.NewLimiter(perSecond, l.perMinute)
	}
}

// creationLimit returns how many controllers a subject may create at once.
func (l *Limiter) creationLimit() int { return max(l.perMinute, l.perSubject) }
