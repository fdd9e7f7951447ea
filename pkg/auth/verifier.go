package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"darktower.example/global-controller/service"
)

const (
	expiryLeeway    = 60 * time.Second
	maxCachedTokens = 65536
	// maxCacheTime is how long a token is cached at most before it is verified again.
	maxCacheTime = 24 * time.Hour
)

// VerifierConfig configures a verifier.
type VerifierConfig struct {
	Keys *KeySet
	// Audience is what tokens must be issued for. Empty: not checked.
	Audience string
	// ClockSkew is how far in the future a token may be issued, 1 to 600 s.
	ClockSkew time.Duration
	// Now is the clock.
	Now func() time.Time
	// CheckClock is called for each token whose claims are checked. Nil: the clock counts as correct.
	CheckClock ClockCheck
	// OnResult is called after each verification, with "cached", "ok", "invalid", "unavailable" or "canceled". Nil: not called.
	OnResult func(result string)
}

// ClockCheck reports whether a token is unverifiable because the clock is wrong. isRefused is the result by this clock.
// refusesAt returns the result at another time.
type ClockCheck func(isRefused bool, refusesAt func(now time.Time) bool) (isUnverifiable bool)

// Verifier verifies bearer tokens. It caches verified tokens by their digest until they expire or their key is no longer
// published.
type Verifier struct {
	keys       *KeySet
	audience   string
	skew       time.Duration
	now        func() time.Time
	checkClock ClockCheck
	onResult   func(result string)
	// monotonic is the time since the verifier was made, which a step of the clock does not change.
	monotonic func() time.Duration
	cache     *lru.Cache[[sha256.Size]byte, verifiedToken]
}

// verifiedToken is an entry of the cache.
type verifiedToken struct {
	caller  service.Caller
	kid     string
	key     ed25519.PublicKey
	expires time.Time
	// monotonicExpiry is when it expires by the monotonic clock, so that a clock that is set back does not prolong it.
	monotonicExpiry time.Duration
}

// NewVerifier returns a verifier.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	cache, err := lru.New[[sha256.Size]byte, verifiedToken](maxCachedTokens)
	if err != nil {
		return nil, fmt.Errorf("make token cache: %w", err)
	}
	if cfg.CheckClock == nil {
		cfg.CheckClock = func(bool, func(time.Time) bool) bool { return false }
	}
	if cfg.OnResult == nil {
		cfg.OnResult = func(string) {}
	}

	began := time.Now()
	return &Verifier{
		keys:       cfg.Keys,
		audience:   cfg.Audience,
		skew:       cfg.ClockSkew,
		now:        cfg.Now,
		checkClock: cfg.CheckClock,
		onResult:   cfg.OnResult,
		monotonic:  func() time.Duration { return time.Since(began) },
		cache:      cache,
	}, nil
}

func newRefusal(reason string) error { return fmt.Errorf("%s: %w", reason, service.ErrUnauthenticated) }

// Authenticate verifies the values of an authorization header, which must be exactly one. Errors: [service.ErrUnauthenticated],
// as a [service.RefusedError] if the signature proves the issuer of the token; [service.ErrUnavailable] if there is no key or
// the clock is wrong; the error of ctx.
func (v *Verifier) Authenticate(ctx context.Context, authorization []string) (service.Caller, error) {
	caller, isCached, err := v.authenticate(ctx, authorization)
	switch {
	case isCached:
		v.onResult("cached")
	case err == nil:
		v.onResult("ok")
	case errors.Is(err, service.ErrUnauthenticated):
		v.onResult("invalid")
	case errors.Is(err, service.ErrUnavailable):
		v.onResult("unavailable")
	default:
		v.onResult("canceled")
	}
	return caller, err
}

func (v *Verifier) authenticate(ctx context.Context, authorization []string) (caller service.Caller, isCached bool, err error) {
	token, err := bearerToken(authorization)
	if err != nil {
		return service.Caller{}, false, err
	}
	digest := sha256.Sum256([]byte(token))
	if entry, ok := v.cache.Get(digest); ok && v.isValid(entry) {
		return entry.caller, true, nil
	}

	entry, err := v.verify(ctx, token)
	if err != nil {
		return service.Caller{}, false, err
	}
	v.cache.Add(digest, entry)
	return entry.caller, false, nil
}

// IsCached reports whether the token was verified before and is still valid. It verifies nothing.
func (v *Verifier) IsCached(authorization []string) bool {
	token, err := bearerToken(authorization)
	if err != nil {
		return false
	}
	entry, ok := v.cache.Get(sha256.Sum256([]byte(token)))
	return ok && v.isValid(entry)
}

// IsWellFormed reports whether the token may be valid, by its form and the id of its key. It does not wait.
func (v *Verifier) IsWellFormed(authorization []string) bool {
	token, err := bearerToken(authorization)
	if err != nil {
		return false
	}
	kid, err := parseForm(token)
	return err == nil && v.keys.MayVerify(kid)
}

// isValid reports whether a cached token has not expired and its key is still published.
func (v *Verifier) isValid(entry verifiedToken) bool {
	return v.now().Before(entry.expires) &&
		v.monotonic() < entry.monotonicExpiry &&
		entry.key.Equal((*v.keys.keys.Load())[entry.kid])
}

func (v *Verifier) verify(ctx context.Context, token string) (verifiedToken, error) {
	kid, err := parseForm(token)
	if err != nil {
		return verifiedToken{}, err
	}

	var (
		key    ed25519.PublicKey
		keyErr error
	)
	parsed, err := parseToken(token, func(*jwt.Token) (any, error) {
		key, keyErr = v.keys.Key(ctx, kid)
		return key, keyErr
	})

	switch {
	case errors.Is(keyErr, service.ErrUnavailable):
		// Claims that are invalid with any key are refused anyway.
		if err := v.checkClaims(parsed); err != nil {
			return verifiedToken{}, err
		}

		v.keys.unverifiable.record()
		return verifiedToken{}, keyErr
	case keyErr != nil && !errors.Is(keyErr, service.ErrUnauthenticated):
		return verifiedToken{}, keyErr
	case err != nil:
		return verifiedToken{}, v.refusalOf(token, kid, keyErr)
	}

	if err := v.checkClaims(parsed); err != nil {
		return verifiedToken{}, err
	}
	expires := time.Unix(*parsed.Expires, 0).Add(expiryLeeway)
	return verifiedToken{
		caller:          parsed.caller(),
		kid:             kid,
		key:             key,
		expires:         expires,
		monotonicExpiry: v.monotonic() + min(expires.Sub(v.now()), maxCacheTime),
	}, nil
}

// parseToken parses a token and verifies its signature with the key that findKey returns. It returns the claims that it could
// read even if it returns an error. It does not check them.
func parseToken(token string, findKey jwt.Keyfunc) (*claims, error) {
	parsed := &claims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(token, parsed, findKey)
	return parsed, err
}

// refusalOf returns why a token is refused that no published key verifies. If a key verifies it that was published until
// recently, the token belongs to its subject, and the refusal names the cause.
func (v *Verifier) refusalOf(token, kid string, keyErr error) error {
	for _, key := range v.keys.droppedKeys.find(kid) {
		parsed, err := parseToken(token, func(*jwt.Token) (any, error) { return key, nil })
		if err == nil && v.checkClaims(parsed) == nil {
			return &service.RefusedError{Reason: service.RefusedKeyDropped, Err: service.ErrUnauthenticated}
		}
	}

	if keyErr != nil {
		return keyErr
	}
	// The library's error may quote the token, so it is not passed on.
	return newRefusal("malformed token or bad signature")
}

// checkClaims validates claims by the clock. It returns [service.ErrUnavailable] if the clock is wrong and may be the cause of
// the result.
func (v *Verifier) checkClaims(c *claims) error {
	err := c.validate(v.now(), v.skew, v.audience)
	if err != nil && !errors.As(err, new(*service.RefusedError)) {
		return err // Invalid by any clock.
	}

	refusesAt := func(now time.Time) bool { return c.validate(now, v.skew, v.audience) != nil }
	if v.checkClock(err != nil, refusesAt) {
		return fmt.Errorf("the clock is wrong, so the token cannot be verified: %w", service.ErrUnavailable)
	}
	return err
}
