package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// TokenSource returns the tokens that calls are authenticated with. Its methods are called concurrently.
type TokenSource interface {
	// Token returns a token that is valid now.
	Token(ctx context.Context) (string, error)
	// Invalidate reports that the service refused the token.
	Invalidate(token string)
}

const redacted = "REDACTED"

// Secret is a string that is printed, logged and encoded as REDACTED.
type Secret string

// String implements [fmt.Stringer].
func (Secret) String() string { return redacted }

// GoString implements [fmt.GoStringer].
func (Secret) GoString() string { return redacted }

// Format implements [fmt.Formatter]: for a verb that does not fit a string, such as %d, fmt does not call String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements [json.Marshaler].
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// sealedSecret holds a secret in an unexported field. fmt prints the content of such a field without calling its methods; a
// function prints as an address.
type sealedSecret func() string

func sealSecret(secret string) sealedSecret {
	return func() string { return secret }
}

// open returns the secret, or an empty string if there is none.
func (s sealedSecret) open() string {
	if s == nil {
		return ""
	}
	return s()
}

type staticToken struct{ token sealedSecret }

// StaticToken returns a source of one token, which it returns even after the service has refused it.
func StaticToken(token string) TokenSource { return staticToken{sealSecret(token)} }

func (s staticToken) Token(context.Context) (string, error) { return s.token.open(), nil }
func (staticToken) Invalidate(string)                       {}
