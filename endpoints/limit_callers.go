package endpoints

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-kit/kit/endpoint"

	"darktower.example/global-controller/service"
)

// RegistrationLookup looks up controllers and their owners in the store.
type RegistrationLookup interface {
	// IsRegistered reports whether a controller is registered.
	IsRegistered(ctx context.Context, controllerID string) (bool, error)
	// CountOwned returns how many controllers the subject registered last.
	CountOwned(ctx context.Context, subject string) (int, error)
}

// callerLimits has the limits of token subjects.
type callerLimits struct {
	*Limiter
	lookup   RegistrationLookup
	owners   *ownerCounts
	notFound *notFoundLimiter
}

// LimitCallers limits each token subject. Several controllers may share one subject, and a deployed controller whose registration is
// refused sends no more heartbeats. So a registration of a registered controller is never refused.
//
// A heartbeat or a deregistration is charged after the call. It is charged only if its controller is not registered, if another process
// is registered, or if the call is forbidden. A new controller is refused if its subject has reached its limit of controllers, or
// creates them too fast. Final heartbeats of a fleet that stops together are charged like other heartbeats.
//
// If the lookup fails, the result is [service.ErrUnavailable].
func LimitCallers(limiter *Limiter, lookup RegistrationLookup, onLimited func(operation string)) Middleware {
	limits := &callerLimits{
		Limiter:  limiter,
		lookup:   lookup,
		owners:   newOwnerCounts(limiter.perSubject, lookup.CountOwned, limiter.now),
		notFound: newNotFoundLimiter(limiter.now),
	}

	return func(op Operation) endpoint.Middleware {
		limit := limits.limitCalls
		switch op.Name {
		case "FastHeartbeat", "ComprehensiveHeartbeat", "StreamHeartbeats", "Deregister":
			limit = limits.limitByOutcome
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

// limitCalls charges a subject for a call before the call is made.
func (l *callerLimits) limitCalls(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request any) (any, error) {
		if !l.allow(otherCalls, service.CallerFrom(ctx).Subject) {
			return nil, service.ErrRateLimited
		}
		return next(ctx, request)
	}
}

// limitRegistrations charges a subject for each controller after its creation. While the subject may create none, only registrations of
// registered controllers pass. An invalid id is not looked up; validation refuses it.
func (l *callerLimits) limitRegistrations(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request any) (any, error) {
		subject := service.CallerFrom(ctx).Subject
		if refusalOf(request) != nil {
			return l.limitCalls(next)(ctx, request)
		}

		if id := controllerID(request); service.IsValidControllerID(id) {
			if refusal := l.checkCreation(ctx, subject); refusal != nil {
				isRegistered, err := l.lookup.IsRegistered(ctx, id)
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
		l.notFound.releasePlace(l.now().Sub(began), errors.Is(err, service.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded))
		if registered, ok := response.(service.RegistrationResponse); ok && err == nil && registered.Created {
			l.allow(creations, subject)
			l.owners.addCreated(subject)
		}
		if errors.Is(err, service.ErrSuperseded) {
			l.allow(otherCalls, subject) // The error stays: it is final, so that the process stops.
		}
		return response, err
	}
}

// checkCreation returns the error for a subject that may not create a controller now, nil if it may.
func (l *callerLimits) checkCreation(ctx context.Context, subject string) error {
	if err := l.owners.checkLimit(ctx, subject); err != nil {
		return err
	}
	if l.isExhausted(creations, subject) {
		return service.ErrRateLimited
	}
	return nil
}

// limitByOutcome charges a subject after a heartbeat, an opened stream or a deregistration that changed nothing. It returns
// [service.ErrRateLimited] instead of the call's error if the quota is used up. Heartbeats of registered controllers are not charged.
// Invalid calls are not charged either, because refusing them would save nothing.
func (l *callerLimits) limitByOutcome(next endpoint.Endpoint) endpoint.Endpoint {
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
			if !l.allow(otherCalls, subject) {
				return nil, service.ErrRateLimited
			}
		}
		return response, err
	}
}

// checkNotRegistered returns the error that replaces NOT_FOUND, nil if NOT_FOUND may be returned. A controller registers once after
// NOT_FOUND, so it gets that response only while its registration would be accepted and the store has room for it. After any other
// error it waits for its next heartbeat.
func (l *callerLimits) checkNotRegistered(ctx context.Context, subject string) error {
	if err := l.checkCreation(ctx, subject); err != nil {
		return err
	}
	// A subject without quota must not take a place, and a subject without a place must not be charged.
	if l.isExhausted(unknownControllers, subject) || !l.notFound.takePlace() || !l.allow(unknownControllers, subject) {
		return service.ErrRateLimited
	}
	return nil
}
