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

// TokenPrechecker checks an authorization header cheaply: without verifying a signature and without waiting.
type TokenPrechecker interface {
	// IsCached reports whether the token was verified before and is still valid.
	IsCached(authorization []string) bool
	// IsWellFormed reports whether the signature has to be verified: false means that the token would be refused in any case.
	IsWellFormed(authorization []string) bool
}

// LimitAddresses refuses calls without a valid token, by address, before their signature is verified. An address is charged for
// failed authentications only, and a cached token always passes. So controllers that share an address with an attacker keep their
// heartbeats.
//
// For their new tokens a limited number of verifications is reserved, which malformed tokens and other addresses cannot use up. After
// that the result is [service.ErrUnavailable], which controllers retry, and not [service.ErrRateLimited].
func LimitAddresses(limiter *Limiter, prechecker TokenPrechecker, onLimited func(operation string)) Middleware {
	limits := &addressLimits{
		Limiter:    limiter,
		prechecker: prechecker,
		spare:      rate.NewLimiter(allVerifications, allVerifications),
	}

	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				call := CallFrom(ctx)
				address := addressKey(call.Address)
				if err := limits.checkToken(address, call.Authorization); err != nil {
					if errors.Is(err, service.ErrRateLimited) {
						onLimited(op.Name)
					}
					return nil, err
				}

				response, err := next(ctx, request)
				if errors.Is(err, service.ErrUnauthenticated) && !limits.allow(failedAuthentications, address) {
					onLimited(op.Name)
					return nil, service.ErrRateLimited
				}
				return response, err
			}
		}
	}
}

// addressLimits has the limits of addresses.
type addressLimits struct {
	*Limiter
	prechecker TokenPrechecker
	spare      *rate.Limiter // Verifications for all addresses that have used up their failed authentications.
}

// checkToken returns an error if the token may not be verified. Cached tokens, and all tokens of an address with failed
// authentications left, may be verified. Of the others, only well-formed tokens may, while verifications are left.
func (l *addressLimits) checkToken(address string, authorization []string) error {
	if !l.isExhausted(failedAuthentications, address) || l.prechecker.IsCached(authorization) {
		return nil
	}
	if !l.prechecker.IsWellFormed(authorization) {
		return service.ErrRateLimited
	}
	if !l.allow(spareVerifications, address) || !l.spare.AllowN(l.now(), 1) {
		return fmt.Errorf("too many unverified tokens: %w", service.ErrUnavailable)
	}
	return nil
}

// addressKey returns the address, or the /64 network of an IPv6 address, which is what one host usually gets.
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
