package modeltest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"darktower.example/global-controller/endpoints"
	"darktower.example/global-controller/service"
)

const (
	// lifetimeMs is the validity of a token; renewedMs is the age at which a controller renews it.
	lifetimeMs = int64(time.Hour / time.Millisecond)
	renewedMs  = int64(50 * time.Minute / time.Millisecond)
	// expiryLeewayMs and futureLeewayMs are the daemon's leeways: after the expiry, and before the time of issue.
	expiryLeewayMs = int64(time.Minute / time.Millisecond)
	futureLeewayMs = int64(5 * time.Minute / time.Millisecond)
	// longExpiredMs is the time since the expiry of an expired token, at least: more than any leeway.
	longExpiredMs = int64(10 * time.Minute / time.Millisecond)
	// One in expiredTokenOdds tokens that a replica with a wrong clock receives has expired.
	expiredTokenOdds = 8
)

const scopeController = "mc"

// The callers. The history names the subject as the actor.
var (
	asController = service.Caller{Subject: "client", Scopes: []string{scopeController}}
	asOperator   = service.Caller{Subject: "operator", Scopes: []string{string(endpoints.ScopeAdmin)}}
)

// token is a token as the auth controller issues it. The auth controller's clock shows the true time.
type token struct {
	caller          service.Caller
	issued, expires int64
}

// isRefusedAt reports whether a clock that shows now refuses the token for its time.
func (t token) isRefusedAt(now time.Time) bool {
	return now.UnixMilli() >= t.expires+expiryLeewayMs || t.issued > now.UnixMilli()+futureLeewayMs
}

// isExpired reports whether the token expired, by the true time, longer ago than any leeway.
func (t token) isExpired(now int64) bool { return now >= t.expires+longExpiredMs }

type tokenKey struct{}

// authorize returns the context of a call to a replica with a token of a caller. It records in the replica how its clock must judge the
// token.
func (env *Environment) authorize(r *replica, caller service.Caller) context.Context {
	age := env.clockFaults.rng.Int64N(10_000)
	switch {
	case r.wall.offset != 0 && !env.isSendingBurst && env.clockFaults.rng.IntN(expiredTokenOdds) == 0:
		age = lifetimeMs + longExpiredMs + env.clockFaults.rng.Int64N(renewedMs)
	case env.clockFaults.rng.IntN(2) == 0:
		age = env.clockFaults.rng.Int64N(renewedMs)
	}
	r.token = token{caller: caller, issued: env.now - age, expires: env.now - age + lifetimeMs}
	r.wantRefusal = r.wall.expectedRefusal(r.token, env.now)

	return context.WithValue(context.Background(), tokenKey{}, r.token)
}

// Authenticate implements [endpoints.Authenticator] like the verifier, without signatures: it uses the wall clock, and the guard may
// contradict it.
func (r *replica) Authenticate(ctx context.Context, _ []string) (service.Caller, error) {
	t, isToken := ctx.Value(tokenKey{}).(token)
	if !isToken {
		return service.Caller{}, service.ErrUnauthenticated
	}
	isRefused := t.isRefusedAt(r.wall.guard.Now())
	switch {
	case r.wall.guard.CheckToken(isRefused, t.isRefusedAt):
		return service.Caller{}, fmt.Errorf("the clock is wrong: %w", service.ErrUnavailable)
	case isRefused:
		return service.Caller{}, service.ErrUnauthenticated
	}
	return t.caller, nil
}

// checkToken compares a call's result with the true state of its token, if the replica reads the auth controller's clock. A valid token is
// never refused as invalid, and an expired one is never accepted while the store's clock is right.
func (env *Environment) checkToken(a attempt, err error) error {
	r := a.replica
	date, store := r.wall.date, r.wall.store
	if !date.isRecent(env.now) {
		return nil
	}

	isRefused := errors.Is(err, service.ErrUnauthenticated) || errors.Is(err, service.ErrUnavailable)
	switch isStoreRight := max(store.ahead(), -store.ahead()) <= limitMs; {
	case !r.token.isExpired(env.now) && errors.Is(err, service.ErrUnauthenticated):
		return fmt.Errorf("%s refused a valid token of %s: its clock is %d ms ahead", r.id, a.controller.id, r.wall.offset)
	case r.token.isExpired(env.now) && isStoreRight && !isRefused:
		return fmt.Errorf("%s accepted an expired token of %s: its clock is %d ms ahead", r.id, a.controller.id, r.wall.offset)
	}
	return nil
}

// checkRefusedCall checks a call whose token must not be accepted: its error is the one that the clock requires, and it changes nothing.
func (env *Environment) checkRefusedCall(a attempt, err error) error {
	c, r := a.controller, a.replica
	if !errors.Is(err, r.wantRefusal) {
		return fmt.Errorf("%s of %s at %s, whose clock is %d ms ahead, returned %q, want %q",
			a.cause, c.id, r.id, r.wall.offset, resultText(err), resultText(r.wantRefusal))
	}
	if errors.Is(r.wantRefusal, service.ErrUnavailable) {
		r.wall.unverifiedAt = env.now
		if a.cause == service.CauseHeartbeat {
			r.vouchModel.recordUnverifiable(c.id, env.now)
		}
	}

	seen, readErr := env.readController(c.id)
	switch {
	case readErr != nil:
		return readErr
	case seen != c.record:
		return fmt.Errorf("%s of %s was refused (%s) but left\n    %+v, was\n    %+v", a.cause, c.id, resultText(err), seen, c.record)
	}
	return checkObserved(r.transitions, nil)
}
