package client

import (
	"context"
	"time"

	"github.com/go-kit/log/level"
	"google.golang.org/grpc/codes"
)

// refusalsBeforeMove is how often in a row a Global Controller may say that it is unavailable, as one does that stops.
const refusalsBeforeMove = 2

// failureRun is what went wrong since the last answer.
type failureRun struct {
	since time.Time // When the first attempt began that failed; zero: none did.
	// here counts the attempts that failed at the address that is in use, refusals those of them in a row that it answered
	// with UNAVAILABLE itself.
	here, refusals int
	// moves counts the addresses that were left.
	moves int
	// renewed is true once a token was given up at the address that is in use.
	renewed bool
}

// isAnswer reports whether the code is the answer of a Global Controller that works: another one would say the same.
func isAnswer(code codes.Code) bool {
	switch code {
	case codes.OK, codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument, codes.AlreadyExists, codes.OutOfRange:
		return true
	}
	return false
}

// judge decides after a failure whether the client goes on at another address, and reports whether another attempt at once
// is likely to end differently.
func (t *grpcTransport) judge(ctx context.Context, l *link, end outcome, began time.Time) (again bool) {
	run := &t.failures
	if run.since.IsZero() {
		run.since = began
	}
	run.here++
	if end.err.code == codes.Unavailable && end.peer {
		run.refusals++
	} else {
		run.refusals = 0
	}

	switch {
	case isBroken(l, end, began):
		t.leaveBroken(l, end)
		return !t.troubled && (end.stale || t.connection.several() && end.err.code == codes.Unavailable)
	case end.err.code == codes.Unauthenticated && !run.renewed:
		run.renewed = true
		if t.renewToken(ctx, end.token) && !t.troubled {
			return true
		}
	}
	if run.here < t.limit(end) {
		return end.stale && !t.troubled
	}
	// Each of the other addresses is tried once without a wait, so that the client is acknowledged again before it counts as
	// stale. When all of them fail, only the backoff determines the next call; it is short after an attempt that took its whole time.
	return t.move(l, end) && t.connection.several() && run.moves < len(t.connection.addresses) && end.err.code != codes.DeadlineExceeded
}

// isBroken reports whether a link is of no use to any client: the connection ended the call, or the call found no answer
// while nothing else came over the link either.
func isBroken(l *link, end outcome, began time.Time) bool {
	switch end.err.code {
	case codes.Unavailable:
		return !end.peer
	case codes.DeadlineExceeded:
		return !end.peer && l.silentSince(began)
	}
	return false
}

// limit is how many attempts in a row may fail in the way of the last one before the client moves. One that took its whole
// time is too long to wait for another: two of them are nearly the staleness threshold.
func (t *grpcTransport) limit(end outcome) int {
	switch {
	case !t.connection.several():
	case end.err.code == codes.DeadlineExceeded:
		return 1
	case t.failures.refusals >= refusalsBeforeMove:
		return t.failures.here
	}
	return t.cfg.FailoverAfter
}

// leaveBroken replaces a link for all clients that use it.
func (t *grpcTransport) leaveBroken(l *link, end outcome) {
	if t.address != sharedAddress {
		t.address = t.connection.after(l.address)
	}
	t.startOver()
	if !t.connection.replace(l) {
		return // Another client did.
	}
	t.cfg.Metrics.failedOver()
	_ = level.Warn(t.cfg.Logger).Log("msg", "connection replaced", "err", end.err)
}

// move has this client alone use the next address, as others may well be served where it is not, and reports whether it did.
// If there is one address only, the connection is made again, as there may be several Global Controllers behind it; not
// while it serves other clients.
func (t *grpcTransport) move(l *link, end outcome) bool {
	since := t.failures.since
	t.startOver()
	if t.connection.several() {
		t.address = t.connection.after(l.address)
	} else if l.answeredSince(since) || !t.connection.replace(l) {
		return false
	}
	t.cfg.Metrics.failedOver()
	_ = level.Warn(t.cfg.Logger).Log("msg", "calls fail here: trying the next address", "err", end.err)
	return true
}

// startOver begins to count at another address.
func (t *grpcTransport) startOver() {
	run := &t.failures
	run.moves++
	run.here, run.refusals, run.renewed = 0, 0, false
}

// renewToken gives a token up, and reports whether there is another one. The refused token is kept: if it was the Global
// Controller's fault and no other token is to be had, another address may accept it.
func (t *grpcTransport) renewToken(ctx context.Context, token string) bool {
	t.refused = seal(token)
	t.cfg.Tokens.Invalidate(token)
	next, err := t.token(ctx)
	return err == nil && next != token
}

// token is bounded by itself: an auth controller that hangs must not use up the call's time.
func (t *grpcTransport) token(ctx context.Context) (string, *failure) {
	bound := t.cfg.CallTimeout
	if t.refused != nil {
		bound /= 4
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()

	token, err := t.cfg.Tokens.Token(ctx)
	switch {
	case err == nil:
		t.refused = nil
		return token, nil
	case t.refused != nil:
		return t.refused.open(), nil
	}
	return "", &failure{code: codes.Unavailable, message: "no token", err: err}
}
