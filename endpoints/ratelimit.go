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
					refused = limiter.exhausted(otherCalls, subject)
				} else {
					refused = !limiter.take(otherCalls, subject)
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
					limiter.take(otherCalls, subject)
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
