package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"slices"
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
)

// Verifier verifies bearer tokens. Tokens that it has verified are remembered by digest, no longer than they live
// and no longer than their key is published.
type Verifier struct {
	keys     *KeySet
	audience string
	skew     time.Duration
	now      func() time.Time
	cache    *lru.Cache[[sha256.Size]byte, verified]
	onResult func(result string)
}

type verified struct {
	caller  service.Caller
	kid     string
	key     ed25519.PublicKey
	expires time.Time
}

// NewVerifier returns a verifier. audience is checked unless empty; skew, 1 to 600 s, is how far in the future a
// token may say it was issued. now is the clock.
func NewVerifier(keys *KeySet, audience string, skew time.Duration, now func() time.Time) (*Verifier, error) {
	cache, err := lru.New[[sha256.Size]byte, verified](cachedTokens)
	if err != nil {
		return nil, fmt.Errorf("make token cache: %w", err)
	}
	return &Verifier{keys: keys, audience: audience, skew: skew, now: now, cache: cache, onResult: func(string) {}}, nil
}

// OnResult has observe told how each verification ended: "cached", "ok", "invalid", "unavailable" or "canceled". It is
// to be set before the verifier is used.
func (v *Verifier) OnResult(observe func(result string)) { v.onResult = observe }

func refuse(reason string) error { return fmt.Errorf("%s: %w", reason, service.ErrUnauthenticated) }

// Authenticate verifies the values of an authorization header, of which there must be one. Errors:
// [service.ErrUnauthenticated], [service.ErrUnavailable] when no key is to be had, the context's.
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

// Recognized tells whether the token was verified before and still counts, without verifying anything.
func (v *Verifier) Recognized(authorization []string) bool {
	token, err := bearer(authorization)
	if err != nil {
		return false
	}
	hit, ok := v.cache.Get(sha256.Sum256([]byte(token)))
	return ok && v.counts(hit)
}

// Plausible tells whether the token is worth a signature, from its form and its key's id. It waits for nothing.
func (v *Verifier) Plausible(authorization []string) bool {
	token, err := bearer(authorization)
	if err != nil {
		return false
	}
	kid, err := checkForm(token)
	return err == nil && v.keys.Expects(kid)
}

func (v *Verifier) counts(hit verified) bool {
	return v.now().Before(hit.expires) && hit.key.Equal((*v.keys.keys.Load())[hit.kid])
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
	case keyErr != nil:
		return verified{}, keyErr
	case err != nil:
		// The library's text may quote the token; which of its rules was broken is not worth that.
		return verified{}, refuse("malformed token or bad signature")
	}
	if err := parsed.check(v.now(), v.skew, v.audience); err != nil {
		return verified{}, err
	}
	return verified{caller: parsed.caller(), kid: kid, key: key, expires: time.Unix(*parsed.Expires, 0).Add(expiryLeeway)}, nil
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

// claims are the claims that count. Times are JSON integers: nothing else is a time that the AC issues.
type claims struct {
	jwt.MapClaims `json:"-"`
	Subject       string   `json:"sub"`
	Expires       *int64   `json:"exp"`
	IssuedAt      *int64   `json:"iat"`
	NotBefore     *int64   `json:"nbf"`
	Audience      audience `json:"aud"`
	Scope         string   `json:"scope"`
	Scopes        []string `json:"scopes"`
	ServiceType   *string  `json:"service_type"` // null is none, as some libraries write it
}

// UnmarshalJSON is what the token library calls; the strict decoder does the work.
func (c *claims) UnmarshalJSON(data []byte) error {
	type plain claims
	return json.Unmarshal(data, (*plain)(c))
}

type audience []string

// UnmarshalJSON reads one string or an array of them.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if stdjson.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	var many []string
	if err := stdjson.Unmarshal(data, &many); err != nil {
		return errors.New("aud is neither a string nor strings")
	}
	*a = many
	return nil
}

func (c *claims) check(now time.Time, skew time.Duration, wanted string) error {
	switch {
	case c.Subject == "" || c.Expires == nil || c.IssuedAt == nil:
		return refuse("a required claim is missing")
	case now.Unix() >= saturatingAdd(*c.Expires, int64(expiryLeeway.Seconds())):
		return refuse("expired")
	case *c.IssuedAt > now.Unix()+int64(skew.Seconds()):
		return refuse("issued in the future")
	case c.NotBefore != nil && *c.NotBefore > now.Unix()+int64(skew.Seconds()):
		return refuse("not valid yet")
	case wanted != "" && !slices.Contains(c.Audience, wanted):
		return refuse("meant for somebody else")
	}
	return nil
}

func saturatingAdd(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return a
}

func (c *claims) caller() service.Caller {
	return service.Caller{Subject: c.Subject, Scopes: append(strings.Fields(c.Scope), c.Scopes...), ServiceType: c.ServiceType}
}
