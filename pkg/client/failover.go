package client

import (
	"context"
	"time"

	"github.com/go-kit/log/level"
	"google.golang.org/grpc/codes"
)

// maxUnavailable is how many times in a row a Global Controller may return UNAVAILABLE before the client moves to the next
// address. One that is stopping returns it.
const maxUnavailable = 2

// failureKind is what a failed attempt shows about the connection and the Global Controller. It decides what the client does
// next.
type failureKind int

const (
	// failureOther: the Global Controller returned an error that another one may not return.
	failureOther failureKind = iota
	// failureConnectionLost: the connection itself ended the call.
	failureConnectionLost
	// failureLinkSilent: the call timed out, and nothing else arrived over the link either.
	failureLinkSilent
	// failureTimeout: the call timed out on a link that works.
	failureTimeout
	// failureUnavailable: the Global Controller returned UNAVAILABLE.
	failureUnavailable
	// failureTokenRefused: the Global Controller refused the token.
	failureTokenRefused
)

// classify returns the kind of a failed attempt that began at that time.
func classify(l *link, end outcome, began time.Time) failureKind {
	switch end.err.code {
	case codes.Unavailable:
		if end.isPeerEnded {
			return failureUnavailable
		}
		return failureConnectionLost
	case codes.DeadlineExceeded:
		if end.isPeerEnded || l.hasReceivedSince(began) {
			return failureTimeout
		}
		return failureLinkSilent
	case codes.Unauthenticated:
		return failureTokenRefused
	}
	return failureOther
}

// isConclusive reports whether the code is a response of a Global Controller that works: any other one would return the
// same.
func isConclusive(code codes.Code) bool {
	switch code {
	case codes.OK, codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument, codes.AlreadyExists, codes.OutOfRange:
		return true
	}
	return false
}

// failureStreak counts the failed attempts since the last response.
type failureStreak struct {
	// began is when the first of them began; zero: there are none.
	began time.Time
	// atAddress counts those at the current address, unavailable the last ones of kind failureUnavailable in a row.
	atAddress, unavailable int
	// moves counts the addresses that the client left.
	moves int
	// isTokenRenewed is true after a token was invalidated at the current address.
	isTokenRenewed bool
}

func (s *failureStreak) add(kind failureKind, began time.Time) {
	if s.began.IsZero() {
		s.began = began
	}
	s.atAddress++
	if kind == failureUnavailable {
		s.unavailable++
	} else {
		s.unavailable = 0
	}
}

// leaveAddress starts to count at another address.
func (s *failureStreak) leaveAddress() {
	s.moves++
	s.atAddress = 0
	s.unavailable = 0
	s.isTokenRenewed = false
}

// handleFailure replaces the link, renews the token or moves to another address, as the failure requires. It reports whether
// another attempt at once is likely to end differently.
func (t *grpcTransport) handleFailure(ctx context.Context, l *link, end outcome, began time.Time) (shouldRetry bool) {
	kind := classify(l, end, began)
	t.failures.add(kind, began)

	switch kind {
	case failureConnectionLost:
		t.replaceBrokenLink(l, end)
		return !t.hasFailed && (end.hasOldStream || t.connection.hasSeveralAddresses())
	case failureLinkSilent:
		t.replaceBrokenLink(l, end)
		return false // The attempt took the whole timeout, so the backoff decides.
	case failureTokenRefused:
		if !t.failures.isTokenRenewed {
			t.failures.isTokenRenewed = true
			if t.renewToken(ctx, end.token) && !t.hasFailed {
				return true
			}
		}
	}

	if !t.shouldMove(kind) {
		return end.hasOldStream && !t.hasFailed
	}

	// Each of the other addresses is tried once without a wait, so that the client is acknowledged again before it counts as
	// stale. When all of them fail, only the backoff decides when to call. It is short after an attempt that timed out.
	isMoved := t.moveToNextAddress(l, end)
	hasUntriedAddress := t.connection.hasSeveralAddresses() && t.failures.moves < len(t.connection.addresses)
	return isMoved && hasUntriedAddress && kind != failureTimeout
}

// shouldMove reports whether the client leaves the address after a failure of that kind. If there are several addresses, one
// timeout is enough: two of them take almost as long as the staleness threshold.
func (t *grpcTransport) shouldMove(kind failureKind) bool {
	if t.connection.hasSeveralAddresses() {
		if kind == failureTimeout || t.failures.unavailable >= maxUnavailable {
			return true
		}
	}
	return t.failures.atAddress >= t.cfg.FailoverAfter
}

// replaceBrokenLink replaces a link for all clients that use it.
func (t *grpcTransport) replaceBrokenLink(l *link, end outcome) {
	if t.addressIndex != sharedAddress {
		t.addressIndex = t.connection.nextAddress(l.addressIndex)
	}
	t.failures.leaveAddress()
	if !t.connection.replaceLink(l) {
		return // Another client has replaced it.
	}

	t.cfg.Metrics.countFailover()
	_ = level.Warn(t.cfg.Logger).Log("msg", "connection replaced", "err", end.err)
}

// moveToNextAddress moves this client alone, because the current address may serve other clients well. It reports whether
// the client moved. If there is only one address, it replaces the connection instead, because several Global Controllers may
// share the address; not while other clients get responses over that connection.
func (t *grpcTransport) moveToNextAddress(l *link, end outcome) bool {
	began := t.failures.began
	t.failures.leaveAddress()
	if t.connection.hasSeveralAddresses() {
		t.addressIndex = t.connection.nextAddress(l.addressIndex)
	} else if l.hasResponseSince(began) || !t.connection.replaceLink(l) {
		return false
	}

	t.cfg.Metrics.countFailover()
	_ = level.Warn(t.cfg.Logger).Log("msg", "calls failed at this address, trying the next one", "err", end.err)
	return true
}

// renewToken invalidates a token and reports whether there is another one. It keeps the refused token: if the Global
// Controller refused it wrongly and there is no other token, another address may accept it.
func (t *grpcTransport) renewToken(ctx context.Context, token string) bool {
	t.refusedToken = sealSecret(token)
	t.cfg.Tokens.Invalidate(token)
	next, err := t.token(ctx)
	return err == nil && next != token
}

// token returns a token for the next call. It has its own timeout, so that a slow auth controller does not use up the time
// of the call. That is shorter while a refused token can be used instead.
func (t *grpcTransport) token(ctx context.Context) (string, *failure) {
	timeout := t.cfg.CallTimeout
	if t.refusedToken != nil {
		timeout /= 4
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	token, err := t.cfg.Tokens.Token(ctx)
	switch {
	case err == nil:
		t.refusedToken = nil
		return token, nil
	case t.refusedToken != nil:
		return t.refusedToken.open(), nil
	}
	return "", &failure{code: codes.Unavailable, message: "no token", err: err}
}
