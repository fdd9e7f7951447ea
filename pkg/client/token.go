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

// staticToken is a token that never changes. It is used through a pointer, which fmt does not look behind where it
// cannot ask for a String.
type staticToken struct{ token Secret }

// StaticToken returns a source of one token, which is used whatever the service says of it.
func StaticToken(token string) TokenSource { return &staticToken{Secret(token)} }

func (s *staticToken) Token(context.Context) (string, error) { return string(s.token), nil }
func (*staticToken) Invalidate(string)                       {}

// Format implements [fmt.Formatter].
func (*staticToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }
