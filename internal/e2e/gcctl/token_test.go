package gcctl_test

import (
	"strings"
	"testing"
)

func TestToken_PrintsOnlyToken(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	token := strings.TrimSpace(e.gcctl(0, "token", "--client", "dev-admin").out)
	if strings.Count(token, ".") != 2 {
		t.Fatalf("gcctl token printed %d parts, want a token and nothing else", strings.Count(token, ".")+1)
	}

	shown := e.gcctl(0, "token", "--show", "--scope", "gc:admin")
	checkContains(t, "token --show", shown.err, "dev-admin", "scopes           gc:admin", "in 59m")
	if shown.out != "" {
		t.Errorf("gcctl token --show printed %q to standard output", shown.out)
	}
	e.gcctl(5, "token", "--client", "dev-reader", "--scope", "gc:admin")
	e.gcctl(5, "token", "--client", "unknown", "--client-secret-file", e.secretFile("secret", "wrong"))

	// With a token, and once the keys are known, no auth controller is needed.
	e.env["GCCTL_TOKEN"] = token
	e.acHTTP.Close()
	e.register(newTestController("mc-1", "eu", 1))
	e.gcctl(0, "drain", "mc-1", "--yes", "--force")
	delete(e.env, "GCCTL_TOKEN")
	e.gcctl(0, "regions", "--token-file", e.secretFile("token", token+"\n"))
	checkContains(t, "auth controller down", e.gcctl(6, "regions").err, "auth controller", "connection refused", "gcctl dev", "gcctl doctor")
}
