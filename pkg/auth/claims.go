package auth

import (
	stdjson "encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"darktower.example/global-controller/service"
)

// claims are the claims that the service reads. Times must be JSON integers, as the AC issues them.
type claims struct {
	jwt.MapClaims `json:"-"`
	Subject       string   `json:"sub"`
	Expires       *int64   `json:"exp"`
	IssuedAt      *int64   `json:"iat"`
	NotBefore     *int64   `json:"nbf"`
	Audience      audience `json:"aud"`
	Scope         string   `json:"scope"`
	Scopes        []string `json:"scopes"`
	ServiceType   *string  `json:"service_type"` // Some libraries write null for none.
}

// UnmarshalJSON makes the token library use the strict decoder.
func (c *claims) UnmarshalJSON(data []byte) error {
	type plain claims
	return json.Unmarshal(data, (*plain)(c))
}

type audience []string

// UnmarshalJSON reads a string or an array of strings.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if stdjson.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}

	var many []string
	if err := stdjson.Unmarshal(data, &many); err != nil {
		return errors.New("aud is neither a string nor an array of strings")
	}
	*a = many
	return nil
}

// validate returns an error for invalid claims. It checks the times last, and returns a [service.RefusedError] for those.
func (c *claims) validate(now time.Time, skew time.Duration, audience string) error {
	latestStart := now.Unix() + int64(skew.Seconds())
	var reason string
	switch {
	case c.Subject == "" || c.Expires == nil || c.IssuedAt == nil:
		return newRefusal("a required claim is missing")
	case audience != "" && !slices.Contains(c.Audience, audience):
		return newRefusal("the token is for another audience")
	case now.Unix() >= saturatingAdd(*c.Expires, int64(expiryLeeway.Seconds())):
		reason = service.RefusedExpired
	case *c.IssuedAt > latestStart:
		reason = service.RefusedFuture
	case c.NotBefore != nil && *c.NotBefore > latestStart:
		reason = service.RefusedNotYetValid
	default:
		return nil
	}

	return &service.RefusedError{Reason: reason, Err: service.ErrUnauthenticated}
}

// saturatingAdd returns a if a+b overflows.
func saturatingAdd(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return a
}

func (c *claims) caller() service.Caller {
	return service.Caller{
		Subject:     c.Subject,
		Scopes:      append(strings.Fields(c.Scope), c.Scopes...),
		ServiceType: c.ServiceType,
	}
}
