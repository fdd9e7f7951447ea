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

// TokenPrechecker tells cheaply, at the cost of no signature and without waiting, what is known of an authorization header.
type TokenPrechecker interface {
	// IsCached tells whether it was verified before and still counts.
	IsCached(authorization []string) bool
	// IsWellFormed tells whether it is worth a signature: false means that it would be refused whatever that said.
	IsWellFormed(authorization []string) bool
}

// LimitAddresses sheds calls without a valid token, by address, before their signature is looked at. An address is
// charged for failed authentications only, and a recognized token always passes, so controllers that share an
// address with an attacker keep their heartbeats. Their new tokens are verified as long as there is some time left
// for it, which garbage and other addresses cannot use up; after that the answer is [service.ErrUnavailable], never a
// refusal that blames the caller.
func LimitAddresses(limiter *Limiter, recognizer TokenPrechecker, onLimited func(operation string)) Middleware {
	all := rate.NewLimiter(allVerifications, allVerifications)
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				call := CallFrom(ctx)
				address := addressKey(call.Address)
				if limiter.exhausted(failedAuthentications, address) && !recognizer.IsCached(call.Authorization) {
					if !recognizer.IsWellFormed(call.Authorization) {
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

// RegistrationLookup looks up controllers and their owners in the store.
type RegistrationLookup interface {
	// IsRegistered reports whether a controller is registered.
	IsRegistered(ctx context.Context, controllerID string) (bool, error)
	// CountOwned returns how many controllers the subject registered last.
	CountOwned(ctx context.Context, subject string) (int, error)
}

// callerLimits are the limits of token subjects.
type callerLimits struct {
	*Limiter
	directory RegistrationLookup
	owners    *owners
	returning *returningLimit
}

// LimitCallers limits each token subject. Several controllers may share one subject, and a controller whose registration is
// refused sends no more heartbeats. So a registration of a registered controller is never refused. A heartbeat is charged
// afterwards, if its controller is not registered or another process is. A new controller is refused when its subject
// owns as many as it may, or creates them too fast. If the lookup fails, the result is
// [service.ErrUnavailable]. Final heartbeats of a fleet that stops together are charged like other
// heartbeats.
func LimitCallers(limiter *Limiter, directory RegistrationLookup, onLimited func(operation string)) Middleware {
	limits := &callerLimits{
		Limiter:   limiter,
		directory: directory,
		owners:    newOwners(limiter.perSubject, directory.CountOwned, limiter.now),
		returning: newReturningLimit(limiter.now),
	}
	return func(op Operation) endpoint.Middleware {
		limit := limits.limitCalls
		switch op.Name {
		case "FastHeartbeat", "ComprehensiveHeartbeat", "StreamHeartbeats", "Deregister":
			limit = limits.limitHeartbeats
		case "RegisterMC":
			limit = limits.limitRegistrations
		}
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			limited := limit(next)
			return func(ctx context.Context, request any) (any, error) {
				response, err := limited(ctx, request)
				if errors.Is(err, service.ErrRateLimited) {
					onLimited(op.Name)
				}
				return response, err
			}
		}
	}
}

// limitCalls charges a subject for a call before it is made.
func (l *callerLimits) limitCalls(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request any) (any, error) {
		if !l.take(otherCalls, service.CallerFrom(ctx).Subject) {
			return nil, service.ErrRateLimited
		}
		return next(ctx, request)
	}
}

// limitRegistrations charges a subject for the controllers that it creates, once they are created. While it may create
// none, a registration is made only if the controller is registered. An invalid id is not looked up; validation refuses it.
func (l *callerLimits) limitRegistrations(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request any) (any, error) {
		subject := service.CallerFrom(ctx).Subject
		if refusalOf(request) != nil {
			return l.limitCalls(next)(ctx, request)
		}

		if id := controllerID(request); validID(id) {
			if refusal := l.checkCreation(ctx, subject); refusal != nil {
				isRegistered, err := l.directory.IsRegistered(ctx, id)
				if err != nil {
					return nil, fmt.Errorf("look up controller %s: %w", id, err)
				}
				if !isRegistered {
					return nil, refusal
				}
			}
		}

		began := l.now()
		response, err := next(ctx, request)
		l.returning.release(l.now().Sub(began), errors.Is(err, service.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded))
		if registered, ok := response.(service.Registered); ok && err == nil && registered.Created {
			l.take(registrations, subject)
			l.owners.add(subject)
		}
		if errors.Is(err, service.ErrSuperseded) {
			l.take(otherCalls, subject) // The answer stays: it is final, so that its process stops.
		}
		return response, err
	}
}

// checkCreation returns the error for a subject that may not create a controller now, nil if it may.
func (l *callerLimits) checkCreation(ctx context.Context, subject string) error {
	if err := l.owners.checkLimit(ctx, subject); err != nil {
		return err
	}
	if l.exhausted(registrations, subject) {
		return service.ErrRateLimited
	}
	return nil
}

// limitHeartbeats charges a subject for a heartbeat that changed nothing, and refuses it when the subject has used up its
// allowance. Heartbeats of registered controllers are free, and so are invalid ones, since refusing them would save nothing.
func (l *callerLimits) limitHeartbeats(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request any) (any, error) {
		response, err := next(ctx, request)
		if err == nil {
			return response, nil
		}

		subject := service.CallerFrom(ctx).Subject
		switch {
		case errors.Is(err, service.ErrNotRegistered):
			if refusal := l.checkNotRegistered(ctx, subject); refusal != nil {
				return nil, refusal
			}
		case errors.Is(err, service.ErrForbidden), errors.Is(err, service.ErrSuperseded):
			if !l.take(otherCalls, subject) {
				return nil, service.ErrRateLimited
			}
		}
		return response, err
	}
}

// checkNotRegistered returns the error that replaces NOT_FOUND, nil if NOT_FOUND may be returned. A controller registers once
// after NOT_FOUND, so it gets that answer only while its registration would be accepted and the store has room for it. After
// any other error it waits for its next heartbeat.
func (l *callerLimits) checkNotRegistered(ctx context.Context, subject string) error {
	if err := l.checkCreation(ctx, subject); err != nil {
		return err
	}
	// Only a subject that has an allowance left takes a place, and only one that gets a place is charged.
	if l.exhausted(strangers, subject) || !l.returning.take() || !l.take(strangers, subject) {
		return service.ErrRateLimited
	}
	return nil
}
