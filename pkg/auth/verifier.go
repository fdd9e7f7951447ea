package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"darktower.example/global-controller/service"
)

// What a token may be.
const (
	maxTokenBytes = 8192
	expiryLeeway  = 60 * time.Second
	cachedTokens  = 65536
	// maxRemembered is how long a token is cached at most before it is verified again.
	maxRemembered = 24 * time.Hour
)

// Verifier verifies bearer tokens. Tokens that it has verified are remembered by digest, no longer than they live
// and no longer than their key is published.
type Verifier struct {
	keys     *KeySet
	audience string
	skew     time.Duration
	now      func() time.Time
	// monotonic is the time since the verifier was made, which no step of the clock changes.
	monotonic func() time.Duration
	suspect   Suspect
	cache     *lru.Cache[[sha256.Size]byte, verified]
	onResult  func(result string)
}

// Suspect reports whether a token cannot be judged because the clock is wrong. refused says how the clock judges the token,
// and byReference judges it at another time.
type Suspect func(refused bool, byReference func(now time.Time) (refused bool)) (unjudged bool)

type verified struct {
	caller  service.Caller
	kid     string
	key     ed25519.PublicKey
	expires time.Time
	// ends is when it expires by the monotonic clock: a clock that was set back prolongs nothing.
	ends time.Duration
}

// NewVerifier returns a verifier. audience is checked unless empty; skew, 1 to 600 s, is how far in the future a
// token may say it was issued. now is the clock.
func NewVerifier(keys *KeySet, audience string, skew time.Duration, now func() time.Time) (*Verifier, error) {
	cache, err := lru.New[[sha256.Size]byte, verified](cachedTokens)
	if err != nil {
		return nil, fmt.Errorf("make token cache: %w", err)
	}
	began := time.Now()
	return &Verifier{
		keys:      keys,
		audience:  audience,
		skew:      skew,
		now:       now,
		monotonic: func() time.Duration { return time.Since(began) },
		suspect:   func(bool, func(time.Time) bool) bool { return false },
		cache:     cache,
		onResult:  func(string) {},
	}, nil
}

// SuspectClock has suspect asked about each token that is judged. It is to be set before the verifier is used.
func (v *Verifier) SuspectClock(suspect Suspect) { v.suspect = suspect }

// OnResult has observe told how each verification ended: "cached", "ok", "invalid", "unavailable" or "canceled". It is
// to be set before the verifier is used.
func (v *Verifier) OnResult(observe func(result string)) { v.onResult = observe }

func refuse(reason string) error { return fmt.Errorf("%s: %w", reason, service.ErrUnauthenticated) }

// Authenticate verifies the values of an authorization header, of which there must be one. Errors:
// [service.ErrUnauthenticated], as a [service.RefusedError] where the signature proved who had issued the token,
// [service.ErrUnavailable] when no key is to be had or the clock cannot be trusted, the context's.
func (v *Verifier) Authenticate(ctx context.Context, authorization []string) (service.Caller, error) {
	caller, cached, err := v.authenticate(ctx, authorization)
	switch {
	case cached:
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

func (v *Verifier) authenticate(ctx context.Context, authorization []string) (caller service.Caller, cached bool, _ error) {
	token, err := bearer(authorization)
	if err != nil {
		return service.Caller{}, false, err
	}
	digest := sha256.Sum256([]byte(token))
	if hit, ok := v.cache.Get(digest); ok && v.counts(hit) {
		return hit.caller, true, nil
	}
	fresh, err := v.verify(ctx, token)
	if err != nil {
		return service.Caller{}, false, err
	}
	v.cache.Add(digest, fresh)
	return fresh.caller, false, nil
}

// bearer takes the token out of the values of an authorization header.
func bearer(authorization []string) (string, error) {
	if len(authorization) != 1 {
		return "", refuse("not one authorization header")
	}
	// The scheme's name counts in any case, and any number of spaces follows it (RFC 9110, section 11.4).
	name, rest, _ := strings.Cut(authorization[0], " ")
	token := strings.TrimLeft(rest, " ")
	switch {
	case !strings.EqualFold(name, "Bearer") || token == "":
		return "", refuse("no bearer token")
	case len(token) > maxTokenBytes:
		return "", refuse("token too long")
	}
	return token, nil
}

// IsCached tells whether the token was verified before and still counts, without verifying anything.
func (v *Verifier) IsCached(authorization []string) bool {
	token, err := bearer(authorization)
	if err != nil {
		return false
	}
	hit, ok := v.cache.Get(sha256.Sum256([]byte(token)))
	return ok && v.counts(hit)
}

// IsWellFormed tells whether the token is worth a signature, from its form and its key's id. It waits for nothing.
func (v *Verifier) IsWellFormed(authorization []string) bool {
	token, err := bearer(authorization)
	if err != nil {
		return false
	}
	kid, err := checkForm(token)
	return err == nil && v.keys.MayVerify(kid)
}

func (v *Verifier) counts(hit verified) bool {
	return v.now().Before(hit.expires) && v.monotonic() < hit.ends && hit.key.Equal((*v.keys.keys.Load())[hit.kid])
}

func (v *Verifier) verify(ctx context.Context, token string) (verified, error) {
	kid, err := checkForm(token)
	if err != nil {
		return verified{}, err
	}

	var (
		key    ed25519.PublicKey
		keyErr error
	)
	parsed := &claims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	_, err = parser.ParseWithClaims(token, parsed, func(*jwt.Token) (any, error) {
		key, keyErr = v.keys.Key(ctx, kid)
		return key, keyErr
	})
	switch {
	case errors.Is(keyErr, service.ErrUnavailable):
		// What no key could make right is refused all the same.
		if err := v.judge(parsed); err != nil {
			return verified{}, err
		}
		v.keys.unjudged.note()
		return verified{}, keyErr
	case keyErr != nil && !errors.Is(keyErr, service.ErrUnauthenticated):
		return verified{}, keyErr
	case err != nil:
		return verified{}, v.explain(token, kid, keyErr)
	}

	if err := v.judge(parsed); err != nil {
		return verified{}, err
	}
	expires := time.Unix(*parsed.Expires, 0).Add(expiryLeeway)
	return verified{
		caller:  parsed.caller(),
		kid:     kid,
		key:     key,
		expires: expires,
		ends:    v.monotonic() + min(expires.Sub(v.now()), maxRemembered),
	}, nil
}

// explain returns why a token is refused that no published key verifies. One that a key verifies which was published until
// lately is its owner's: its refusal names what happened.
func (v *Verifier) explain(token, kid string, keyErr error) error {
	for _, key := range v.keys.dropped.find(kid) {
		parsed := &claims{}
		parser := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
		_, err := parser.ParseWithClaims(token, parsed, func(*jwt.Token) (any, error) { return key, nil })
		if err == nil && v.judge(parsed) == nil {
			return &service.RefusedError{Reason: service.RefusedKeyDropped, Err: service.ErrUnauthenticated}
		}
	}
	if keyErr != nil {
		return keyErr
	}
	// The library's text may quote the token; which of its rules was broken is not worth that.
	return refuse("malformed token or bad signature")
}

// judge checks claims by the clock, or returns [service.ErrUnavailable] when the clock is wrong and may be the reason for what
// it says.
func (v *Verifier) judge(c *claims) error {
	err := c.check(v.now(), v.skew, v.audience)
	if err != nil && !errors.As(err, new(*service.RefusedError)) {
		return err
	}
	if v.suspect(err != nil, func(now time.Time) bool { return c.check(now, v.skew, v.audience) != nil }) {
		return fmt.Errorf("the clock is wrong, the token cannot be verified: %w", service.ErrUnavailable)
	}
	return err
}

// checkForm refuses a token that two readers could read differently, before any key is looked for, and returns its
// key's id.
func checkForm(token string) (kid string, _ error) {
	encoded, rest, _ := strings.Cut(token, ".")
	_, signature, _ := strings.Cut(rest, ".")
	switch {
	case strings.Count(token, ".") != 2:
		return "", refuse("not three parts")
	case !isBase64URL(token):
		return "", refuse("not base64url")
	case len(signature) != base64.RawURLEncoding.EncodedLen(ed25519.SignatureSize):
		return "", refuse("not a signature")
	}
	raw, err := strictBase64(encoded)
	if err != nil {
		return "", refuse("malformed header")
	}
	var header struct {
		Alg  string `json:"alg"`
		Kid  string `json:"kid"`
		Crit any    `json:"crit"`
	}
	// This decoder refuses duplicate names and is exact about case.
	if err := json.Unmarshal(raw, &header); err != nil || header.Alg != "EdDSA" || header.Kid == "" || header.Crit != nil {
		return "", refuse("unfit header")
	}
	return header.Kid, nil
}

// isBase64URL tells whether the parts of a token hold nothing but their alphabet. Go's decoders, strict ones too, pass
// over line breaks, so that one signature would have many texts.
func isBase64URL(token string) bool {
	for i := range len(token) {
		c := token[i]
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func strictBase64(s string) ([]byte, error) {
	return jwt.NewParser(jwt.WithStrictDecoding()).DecodeSegment(s)
}
