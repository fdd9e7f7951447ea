package operatorcli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// claims are the contents of a token. They are not verified.
type claims struct {
	Subject     string      `json:"sub"`
	Scope       string      `json:"scope"`
	Scopes      []string    `json:"scopes"`
	ServiceType *string     `json:"service_type"`
	IssuedAt    unixSeconds `json:"iat"`
	ExpiresAt   unixSeconds `json:"exp"`
	// keyID is the id of the key that signed the token.
	keyID string
}

// allScopes returns the scopes of both claims that may have them.
func (c claims) allScopes() []string { return append(strings.Fields(c.Scope), c.Scopes...) }

// unixSeconds is a time in the form of tokens, which may have a fraction.
type unixSeconds float64

func (u unixSeconds) time() time.Time {
	const latest = 1 << 40
	return time.Unix(int64(max(0, min(float64(u), latest))), 0)
}

// describe returns the time and its distance from now.
func (u unixSeconds) describe(now time.Time) string {
	if u == 0 {
		return "-"
	}

	at := u.time()
	if at.After(now) {
		return formatTime(at) + ", in " + formatAge(at.Sub(now))
	}
	return formatTime(at) + ", " + formatAge(now.Sub(at)) + " ago"
}

var errNotJWT = errors.New("the token is not a JWT, so its claims cannot be read")

// parseClaims reads a token without verifying it. Its errors quote nothing of the token.
func parseClaims(token string) (claims, error) {
	var (
		result claims
		header struct {
			KeyID string `json:"kid"`
		}
	)
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return result, errNotJWT
	}

	for i, into := range []any{&header, &result} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, into) != nil {
			return result, errNotJWT
		}
	}
	result.keyID = header.KeyID
	return result, nil
}
