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
	// lifetimeMs is how long a token is valid, and renewedMs how old a controller lets it become.
	lifetimeMs = int64(time.Hour / time.Millisecond)
	renewedMs  = int64(50 * time.Minute / time.Millisecond)
	// expiryLeewayMs and futureLeewayMs are what the daemon allows: after the expiry, and before the time of issue.
	expiryLeewayMs = int64(time.Minute / time.Millisecond)
	futureLeewayMs = int64(5 * time.Minute / time.Millisecond)
	// longExpiredMs is the least age of a token that has expired, beyond its lifetime: more than any leeway.
	longExpiredMs = int64(10 * time.Minute / time.Millisecond)
	// expiredTokens is one in how many tokens that has expired, of those that a replica with a wrong clock receives.
	expiredTokens = 8
)

const scopeController = "mc"

// The callers. What the history names as the actor is the subject.
var (
	asController = service.Caller{Subject: "client", Scopes: []string{scopeController}}
	asOperator   = service.Caller{Subject: "operator", Scopes: []string{string(endpoints.ScopeAdmin)}}
)

// token is what the auth controller issued, by the world's time, which is its clock's.
type token struct {
	caller          service.Caller
	issued, expires int64
}

// isRefusedAt reports whether a clock that shows now refuses the token for its time.
func (t token) isRefusedAt(now time.Time) bool {
	return now.UnixMilli() >= t.expires+expiryLeewayMs || t.issued > now.UnixMilli()+futureLeewayMs
}

// isExpired reports whether the token has expired in truth, for longer than any leeway.
func (t token) isExpired(now int64) bool { return now >= t.expires+longExpiredMs }

type tokenKey struct{}

// authorize returns the context of a call to a replica with a token of a caller, and notes in the replica what its clock has to
// make of the token.
func (w *World) authorize(r *replica, caller service.Caller) context.Context {
	age := w.clocks.dice.Int64N(10_000)
	switch {
	case r.wall.offset != 0 && !w.grouping && w.clocks.dice.IntN(expiredTokens) == 0:
		age = lifetimeMs + longExpiredMs + w.clocks.dice.Int64N(renewedMs)
	case w.clocks.dice.IntN(2) == 0:
		age = w.clocks.dice.Int64N(renewedMs)
	}
	r.token = token{caller: caller, issued: w.now - age, expires: w.now - age + lifetimeMs}
	r.refusal = r.wall.refusal(r.token, w.now)

	return context.WithValue(context.Background(), tokenKey{}, r.token)
}

// Authenticate implements [endpoints.Authenticator] as the verifier does, but for signatures: by the wall clock, which the guard
// may contradict.
func (r *replica) Authenticate(ctx context.Context, _ []string) (service.Caller, error) {
	t, isToken := ctx.Value(tokenKey{}).(token)
	if !isToken {
		return service.Caller{}, service.ErrUnauthenticated
	}
	isRefused := t.isRefusedAt(r.wall.guard.Now())
	switch {
	case r.wall.guard.Suspect(isRefused, t.isRefusedAt):
		return service.Caller{}, fmt.Errorf("the clock is wrong: %w", service.ErrUnavailable)
	case isRefused:
		return service.Caller{}, service.ErrUnauthenticated
	}
	return t.caller, nil
}

// checkToken compares the answer with what the token is in truth, for a replica that reads the auth controller's clock: a
// valid token is never refused as invalid, and an expired one is never accepted while the store's clock is right.
func (w *World) checkToken(a attempt, err error) error {
	r := a.replica
	date, store := r.wall.date, r.wall.store
	if !date.isRecent(w.now) {
		return nil
	}
	isTurnedAway := errors.Is(err, service.ErrUnauthenticated) || errors.Is(err, service.ErrUnavailable)
	switch isStoreRight := max(store.ahead(), -store.ahead()) <= limitMs; {
	case !r.token.isExpired(w.now) && errors.Is(err, service.ErrUnauthenticated):
		return fmt.Errorf("%s refused a valid token of %s: its clock is %d ms ahead", r.id, a.controller.id, r.wall.offset)
	case r.token.isExpired(w.now) && isStoreRight && !isTurnedAway:
		return fmt.Errorf("%s accepted a token of %s that has expired: its clock is %d ms ahead", r.id, a.controller.id, r.wall.offset)
	}
	return nil
}

// settleRefusal: a call whose token is not accepted gets the answer that the clock leads to, and changes nothing.
func (w *World) settleRefusal(a attempt, err error) error {
	c, r := a.controller, a.replica
	if !errors.Is(err, r.refusal) {
		return fmt.Errorf("%s of %s at %s, whose clock is %d ms ahead, answered %q, want %q",
			a.cause, c.id, r.id, r.wall.offset, answerOf(err), answerOf(r.refusal))
	}
	if errors.Is(r.refusal, service.ErrUnavailable) {
		r.wall.unjudgedAt = w.now
		if a.cause == service.CauseHeartbeat {
			r.vouching.unjudgedFor(c.id, w.now)
		}
	}

	seen, lookErr := w.look(c.id)
	switch {
	case lookErr != nil:
		return lookErr
	case seen != c.record:
		return fmt.Errorf("%s of %s was refused (%s) and left\n    %+v, was\n    %+v", a.cause, c.id, answerOf(err), seen, c.record)
	}
	return told(r.changes, nil)
}
