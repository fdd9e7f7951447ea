package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/go-kit/kit/endpoint"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"darktower.example/global-controller/service"
)

// rememberedCallers bounds the memory of a limiter. A caller that is forgotten starts with a full allowance.
const rememberedCallers = 16384

// shedVerifications is how many tokens a second are still verified for addresses that have used up their failures:
// the signature costs some 55 µs, so this is about a twentieth of a core.
const shedVerifications = 1000

// Limiter gives each caller an allowance that fills at perMinute and holds as many calls.
type Limiter struct {
	perMinute int
	buckets   *lru.Cache[string, *rate.Limiter]
	now       func() time.Time
}

// NewLimiter returns a limiter; perMinute is above 0.
func NewLimiter(perMinute int, now func() time.Time) (*Limiter, error) {
	buckets, err := lru.New[string, *rate.Limiter](rememberedCallers)
	if err != nil {
		return nil, fmt.Errorf("make limiter: %w", err)
	}
	return &Limiter{perMinute: perMinute, buckets: buckets, now: now}, nil
}

// take uses one call of the caller's allowance and tells whether there was one.
func (l *Limiter) take(caller string) bool {
	bucket, ok := l.buckets.Get(caller)
	if !ok {
		bucket = rate.NewLimiter(rate.Limit(float64(l.perMinute)/60), l.perMinute)
		// Two calls that come first at the same time may both make one; the first stays.
		if held, ok, _ := l.buckets.PeekOrAdd(caller, bucket); ok {
			bucket = held
		}
	}
	return bucket.AllowN(l.now(), 1)
}

// exhausted tells whether a call would be refused, and uses nothing.
func (l *Limiter) exhausted(caller string) bool {
	bucket, ok := l.buckets.Get(caller)
	return ok && bucket.TokensAt(l.now()) < 1
}

// Recognizer tells cheaply whether an authorization header was verified before and still counts.
type Recognizer interface {
	Recognized(authorization []string) bool
}

// LimitAddresses sheds calls without a valid token, by address, before their signature is looked at. An address is
// charged for failed authentications only, and a recognized token always passes, so controllers that share an
// address with an attacker keep their heartbeats. Their new tokens are verified as long as there is some time left
// for it; after that the answer is [service.ErrUnavailable], never a refusal that blames the caller.
func LimitAddresses(limiter *Limiter, recognizer Recognizer, onLimited func(operation string)) Middleware {
	spare := rate.NewLimiter(shedVerifications, shedVerifications)
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				call := CallFrom(ctx)
				address := addressKey(call.Address)
				if limiter.exhausted(address) && !recognizer.Recognized(call.Authorization) {
					if len(call.Authorization) == 0 {
						onLimited(op.Name)
						return nil, service.ErrRateLimited
					}
					if !spare.AllowN(limiter.now(), 1) {
						return nil, fmt.Errorf("too many unverified tokens: %w", service.ErrUnavailable)
					}
				}
				response, err := next(ctx, request)
				if errors.Is(err, service.ErrUnauthenticated) && !limiter.take(address) {
					onLimited(op.Name)
					return nil, service.ErrRateLimited
				}
				return response, err
			}
		}
	}
}

// addressKey takes the networks that one IPv6 host is given as one address.
func addressKey(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return address
	}
	prefix, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}

// Directory tells whether a controller is registered.
type Directory interface {
	Known(ctx context.Context, controllerID string) (bool, error)
}

// LimitCallers limits each token subject. A heartbeat is charged only when it turns out to be for nobody we know, and
// no call that speaks for a registered controller is ever refused: several controllers may share a subject, and one
// that is refused its registration falls silent for good. Trouble in finding out is [service.ErrUnavailable].
func LimitCallers(limiter *Limiter, directory Directory, onLimited func(operation string)) Middleware {
	return func(op Operation) endpoint.Middleware {
		if op.Name == "StreamHeartbeats" {
			// Each of its heartbeats is charged by the rules for heartbeats; controllers that come back together after an
			// outage must all get their stream.
			return func(next endpoint.Endpoint) endpoint.Endpoint { return next }
		}
		heartbeat := op.Name == "FastHeartbeat" || op.Name == "ComprehensiveHeartbeat"
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				subject := service.CallerFrom(ctx).Subject
				var refused bool
				if heartbeat {
					refused = limiter.exhausted(subject)
				} else {
					refused = !limiter.take(subject)
				}
				if refused {
					known, err := speaksForKnown(ctx, op, directory, request)
					if err != nil {
						return nil, err
					}
					if !known {
						onLimited(op.Name)
						return nil, service.ErrRateLimited
					}
				}
				response, err := next(ctx, request)
				if heartbeat && err != nil && isCallersFault(err) {
					limiter.take(subject)
				}
				return response, err
			}
		}
	}
}

func speaksForKnown(ctx context.Context, op Operation, directory Directory, request any) (bool, error) {
	id := controllerID(request)
	if op.Scope != ScopeMC || id == "" {
		return false, nil
	}
	known, err := directory.Known(ctx, id)
	if err != nil {
		return false, fmt.Errorf("look up controller %s: %w", id, err)
	}
	return known, nil
}

func isCallersFault(err error) bool {
	var invalid *service.InvalidError
	return errors.Is(err, service.ErrNotRegistered) || errors.As(err, &invalid)
}
