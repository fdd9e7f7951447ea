package operatorcli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (t *tool) tokenCommand() *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use: "token", Short: "get a token, for use with other tools", Args: arguments(0, 0, "no arguments"),
		Long: `token prints a token, and nothing else, to the standard output: from the auth controller of gcctl dev, or as the context,
the flags or the environment say. Who has the token can do what it allows until it ends: do not keep it in files.

--show tells on the standard error what the token says of itself, which is not verified, and does not print it.`,
		Example: `  curl -H "authorization: Bearer $(gcctl token)" http://127.0.0.1:8081/api/v1/regions
  gcctl token --client dev-admin --scope gc:admin
  gcctl token --context prod --show`,
		RunE: func(c *cobra.Command, _ []string) error { return t.printToken(c.Context(), show) },
	}
	c.Flags().StringVar(&t.flags.scope, "scope", "", "the `SCOPES` to ask for, separated by spaces; unless set, all that the client has")
	c.Flags().BoolVar(&show, "show", false, "tell what the token says, instead of printing it")
	_ = c.RegisterFlagCompletionFunc("scope", words("gc:read", "gc:admin", "mc:register"))
	return c
}

func (t *tool) printToken(ctx context.Context, show bool) error {
	// The reader of gcctl dev has no other scope than to read.
	s, err := t.open(slices.Contains(strings.Fields(t.flags.scope), "gc:admin"))
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(ctx, t.flags.timeout)
	defer cancel()
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	if !show {
		t.print("%s", clean(token))
		return nil
	}
	claims, err := readClaims(token)
	if err != nil {
		return failed(ExitFailure, "%v", err)
	}
	p := &page{paint: t.paintFor(t.ErrTerminal)}
	p.title("The token says, and nobody here verifies")
	p.line("subject", "%s", dash(claims.Subject))
	p.line("scopes", "%s", dash(strings.Join(claims.scopes(), " ")))
	if claims.ServiceType != nil {
		p.line("service type", "%s", *claims.ServiceType)
	}
	p.line("issued", "%s", claims.IssuedAt.words(t.Now()))
	p.line("ends", "%s", claims.ExpiresAt.words(t.Now()))
	p.line("key", "%s", dash(claims.keyID))
	_, err = t.Err.Write([]byte(p.b.String()))
	return err
}

// claims are what a token says of itself.
type claims struct {
	Subject     string      `json:"sub"`
	Scope       string      `json:"scope"`
	Scopes      []string    `json:"scopes"`
	ServiceType *string     `json:"service_type"`
	IssuedAt    unixSeconds `json:"iat"`
	ExpiresAt   unixSeconds `json:"exp"`
	keyID       string
}

func (c claims) scopes() []string { return append(strings.Fields(c.Scope), c.Scopes...) }

// unixSeconds is a time as tokens have it, which need not be whole.
type unixSeconds float64

func (u unixSeconds) time() time.Time {
	const latest = 1 << 40
	return time.Unix(int64(max(0, min(float64(u), latest))), 0)
}

func (u unixSeconds) words(now time.Time) string {
	if u == 0 {
		return "-"
	}
	if at := u.time(); at.After(now) {
		return instant(at) + ", in " + age(at.Sub(now))
	}
	return instant(u.time()) + ", " + age(now.Sub(u.time())) + " ago"
}

var errNoJWT = errors.New("the token is not a JWT, so that it does not tell anything")

// readClaims reads a token without verifying it. Its errors quote nothing of it.
func readClaims(token string) (claims, error) {
	var (
		c      claims
		header struct {
			KeyID string `json:"kid"`
		}
	)
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errNoJWT
	}
	for i, into := range []any{&header, &c} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, into) != nil {
			return c, errNoJWT
		}
	}
	c.keyID = header.KeyID
	return c, nil
}
