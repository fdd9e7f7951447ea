package operatorcli

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (c *cli) tokenCommand() *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "print a token for other tools",
		Long: `token prints a token, and nothing else, to standard output. The token comes from the source that the context, the flags or
the environment name, and by default from the auth controller of gcctl dev. Until the token expires, its holder can do
everything that its scopes allow, so do not keep it in files.

--show prints the claims of the token to standard error instead. They are not verified.`,
		Example: `  curl -H "authorization: Bearer $(gcctl token)" http://127.0.0.1:8081/api/v1/regions
  gcctl token --client dev-admin --scope gc:admin
  gcctl token --context prod --show`,
		Args: requireArgs(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.printToken(cmd.Context(), show) },
	}
	cmd.Flags().StringVar(&c.flags.scope, "scope", "", "`SCOPES` to request, separated by spaces; by default all scopes of the client")
	cmd.Flags().BoolVar(&show, "show", false, "print the token's claims instead of the token")
	_ = cmd.RegisterFlagCompletionFunc("scope", completeWords(scopeRead, scopeAdmin, "mc:register"))
	return cmd
}

func (c *cli) printToken(ctx context.Context, showClaims bool) error {
	// The reading client of gcctl dev has no other scope than gc:read.
	needsAdmin := slices.Contains(strings.Fields(c.flags.scope), scopeAdmin)
	conn, err := c.connect(needsAdmin)
	if err != nil {
		return err
	}
	defer conn.close()

	ctx, cancel := context.WithTimeout(ctx, c.flags.timeout)
	defer cancel()
	token, err := conn.token(ctx)
	if err != nil {
		return err
	}
	if showClaims {
		return c.writeClaims(token)
	}
	c.print("%s", clean(token))
	return nil
}

// writeClaims writes the claims of a token to Err, so that Out never has more than a token.
func (c *cli) writeClaims(token string) error {
	claims, err := parseClaims(token)
	if err != nil {
		return newFailure(ExitFailure, "%v", err)
	}

	p := &page{painter: c.painterFor(c.ErrTerminal)}
	p.title("Claims of the token (not verified)")
	p.line("subject", "%s", orDash(claims.Subject))
	p.line("scopes", "%s", orDash(strings.Join(claims.allScopes(), " ")))
	if claims.ServiceType != nil {
		p.line("service type", "%s", *claims.ServiceType)
	}
	p.line("issued", "%s", claims.IssuedAt.describe(c.Now()))
	p.line("expires", "%s", claims.ExpiresAt.describe(c.Now()))
	p.line("key", "%s", orDash(claims.keyID))
	_, err = io.WriteString(c.Err, p.text()+"\n")
	return err
}
