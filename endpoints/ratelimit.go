package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/go-kit/kit/endpoint"
	"golang.org/x/time/rate"

	"darktower.example/global-controller/service"
)

// Recognizer tells cheaply, at the cost of no signature and without waiting, what is known of an authorization header.
type Recognizer interface {
	// Recognized tells whether it was verified before and still counts.
	Recognized(authorization []string) bool
	// Plausible tells whether it is worth a signature: false means that it would be refused whatever that said.
	Plausible(authorization []string) bool
}

// LimitAddresses sheds calls without a valid token, by address, before their signature is looked at. An address is
// charged for failed authentications only, and a recognized token always passes, so controllers that share an
// address with an attacker keep their heartbeats. Their new tokens are verified as long as there is some time left
// for it, which garbage and other addresses cannot use up; after that the answer is [service.ErrUnavailable], never a
// refusal that blames the caller.
func LimitAddresses(limiter *Limiter, recognizer Recognizer, onLimited func(operation string)) Middleware {
	all := rate.NewLimiter(allVerifications, allVerifications)
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				call := CallFrom(ctx)
				address := addressKey(call.Address)
				if limiter.exhausted(failedAuthentications, address) && !recognizer.Recognized(call.Authorization) {
					if !recognizer.Plausible(call.Authorization) {
						onLimited(op.Name)
						return nil, service.ErrRateLimited
					}
					if !limiter.take(spareVerifications, address) || !all.AllowN(limiter.now(), 1) {
						return nil, fmt.Errorf("too many unverified tokens: %w", service.ErrUnavailable)
					}
				}
				response, err := next(ctx, request)
				if errors.Is(err, service.ErrUnauthenticated) && !limiter.take(failedAuthentications, address) {
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

// LimitCallers limits each token subject. Several controllers may share one, and one that is refused its registration
// falls silent for good. So heartbeats are charged afterwards, when they turn out to be for nobody we know, and
// registrations have an allowance of their own, past which those of known controllers still go; trouble in finding out
// is [service.ErrUnavailable]. A fleet that leaves together is charged as its heartbeats are.
func LimitCallers(limiter *Limiter, directory Directory, onLimited func(operation string)) Middleware {
	return func(op Operation) endpoint.Middleware {
		limited := func() error {
			onLimited(op.Name)
			return service.ErrRateLimited
		}
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			switch op.Name {
			case "FastHeartbeat", "ComprehensiveHeartbeat", "StreamHeartbeats", "Deregister":
				return func(ctx context.Context, request any) (any, error) {
					response, err := next(ctx, request)
					if !limiter.affords(ctx, err) {
						return nil, limited()
					}
					return response, err
				}
			}
			return func(ctx context.Context, request any) (any, error) {
				admitted, err := limiter.admits(ctx, op, request, directory)
				switch {
				case err != nil:
					return nil, err
				case !admitted:
					return nil, limited()
				}
				return next(ctx, request)
			}
		}
	}
}

// admits charges a subject for a call that is about to be made, and tells whether it may be. A registration past its
// allowance still may when the controller is known. An id that no controller can have is not looked up but left to
// validation, which refuses it.
func (l *Limiter) admits(ctx context.Context, op Operation, request any, directory Directory) (bool, error) {
	subject := service.CallerFrom(ctx).Subject
	if op.Name != "RegisterMC" || refusalOf(request) != nil {
		return l.take(otherCalls, subject), nil
	}
	id := controllerID(request)
	if l.take(registrations, subject) || !validID(id) {
		return true, nil
	}
	known, err := directory.Known(ctx, id)
	if err != nil {
		return false, fmt.Errorf("look up controller %s: %w", id, err)
	}
	return known, nil
}

// affords charges a subject for a heartbeat that came to nothing, and tells whether it may hear so. That a controller is
// not registered is said no more often than it may register, and not while it may not: it tries that once. Heartbeats
// of known controllers are free, and so are invalid ones, since refusing them would save nothing.
func (l *Limiter) affords(ctx context.Context, err error) bool {
	if err == nil {
		return true
	}
	subject := service.CallerFrom(ctx).Subject
	switch {
	case errors.Is(err, service.ErrNotRegistered):
		return !l.exhausted(registrations, subject) && l.take(strangers, subject)
	case errors.Is(err, service.ErrForbidden):
		return l.take(otherCalls, subject)
	default:
		return true
	}
}
