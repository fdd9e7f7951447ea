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

// check refuses invalid claims. It checks the times last, and refuses those with a [service.RefusedError].
func (c *claims) check(now time.Time, skew time.Duration, wanted string) error {
	var reason string
	switch {
	case c.Subject == "" || c.Expires == nil || c.IssuedAt == nil:
		return refuse("a required claim is missing")
	case wanted != "" && !slices.Contains(c.Audience, wanted):
		return refuse("meant for another audience")
	case now.Unix() >= saturatingAdd(*c.Expires, int64(expiryLeeway.Seconds())):
		reason = service.RefusedExpired
	case *c.IssuedAt > now.Unix()+int64(skew.Seconds()):
		reason = service.RefusedFuture
	case c.NotBefore != nil && *c.NotBefore > now.Unix()+int64(skew.Seconds()):
		reason = service.RefusedNotYetValid
	default:
		return nil
	}

	return &service.RefusedError{Reason: reason, Err: service.ErrUnauthenticated}
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
