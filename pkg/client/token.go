package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// TokenSource gives the tokens that calls are made with. It is used by many goroutines at once.
type TokenSource interface {
	// Token returns one that is valid for a while yet.
	Token(ctx context.Context) (string, error)
	// Invalidate says that the service refused the token.
	Invalidate(token string)
}

const redacted = "REDACTED"

// Secret prints as a word, whatever it is printed with.
type Secret string

// String implements [fmt.Stringer].
func (Secret) String() string { return redacted }

// GoString implements [fmt.GoStringer].
func (Secret) GoString() string { return redacted }

// Format implements [fmt.Formatter]: for a verb that fits no string, such as %d, nobody asks String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements [json.Marshaler].
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// sealed holds a secret where fmt may come by without asking how: of a field that is not exported it prints what is
// there, and of a function that is an address.
type sealed func() string

func seal(secret string) sealed {
	return func() string { return secret }
}

// open returns the secret, which is empty when there is none.
func (s sealed) open() string {
	if s == nil {
		return ""
	}
	return s()
}

type staticToken struct{ token sealed }

// StaticToken returns a source of one token, which is used whatever the service says of it.
func StaticToken(token string) TokenSource { return staticToken{seal(token)} }

func (s staticToken) Token(context.Context) (string, error) { return s.token.open(), nil }
func (staticToken) Invalidate(string)                       {}
