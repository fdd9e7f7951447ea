package gcctl_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestContext_SetUseShowRemove(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.register(newTestController("mc-1", "eu", 1))
	address, ac := e.env["GCCTL_ADDRESS"], e.env["GCCTL_AC"]
	e.env = map[string]string{"HOME": e.env["HOME"]}
	checkContains(t, "no contexts", e.gcctl(0, "context", "ls").err, "there are no contexts")
	checkContains(t, "no context", e.gcctl(0, "context", "show").out, "127.0.0.1:50051", "dev-reader")

	secret := e.secretFile("secret", "dev-admin-secret\n")
	e.gcctl(0, "context", "set", "here", "--address", address, "--http-address", e.server.HTTPAddress(), "--ac", ac,
		"--client", "dev-admin", "--client-secret-file", secret)
	e.gcctl(0, "context", "set", "there", "--address", "gc.example:443", "--tls", "--token-file", "/nowhere")
	path := filepath.Join(e.env["HOME"], ".config", "gcctl", "config.yaml")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the context file: %v, %v, want one that only its owner can read", info, err)
	}

	checkContains(t, "context ls", e.gcctl(0, "context", "ls").out, "*  here   "+address, "there", "gc.example:443", "yes")
	if got := e.listIDs(); got != "mc-1" {
		t.Errorf("fleet ls in the first context = %q, want mc-1", got)
	}
	e.gcctl(0, "drain", "mc-1", "--yes", "--force")

	e.gcctl(0, "context", "use", "there")
	checkContains(t, "context show", e.gcctl(0, "context", "show").out,
		"there", "gc.example:443", "yes, trusting the authorities of this system", "in the file /nowhere, set by the context there")
	checkContains(t, "no token file", e.gcctl(5, "regions").err, "/nowhere")

	checkContains(t, "unknown", e.gcctl(2, "regions", "--context", "nowhere").err, "no context nowhere")
	e.gcctl(2, "context", "use", "nowhere")
	e.gcctl(2, "context", "rm", "nowhere")
	checkContains(t, "context rm", e.gcctl(0, "context", "rm", "there").err, "there is no current context now")
	if got := e.gcctl(0, "context", "ls").out; strings.Contains(got, "there") {
		t.Errorf("a removed context is listed:\n%s", got)
	}

	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	checkContains(t, "a readable secret", e.gcctl(0, "regions", "--context", "here").err, "other users can read", "chmod 600")
}

// TestContext_Precedence checks that flags take precedence over the environment, and the environment over the file.
func TestContext_Precedence(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	address, ac := e.env["GCCTL_ADDRESS"], e.env["GCCTL_AC"]
	e.env = map[string]string{"HOME": e.env["HOME"]}
	secret := e.secretFile("secret", "dev-admin-secret\n")
	e.gcctl(0, "context", "set", "there", "--address", "gc.example:443", "--tls", "--token-file", "/nowhere")
	e.gcctl(0, "context", "set", "here", "--address", address, "--ac", ac, "--client", "dev-admin", "--client-secret-file", secret)
	checkContains(t, "the file", e.gcctl(0, "context", "show").out, "there")

	e.gcctl(0, "regions", "--context", "here")
	e.env["GCCTL_CONTEXT"] = "here"
	e.gcctl(0, "regions")
	checkContains(t, "a flag", e.gcctl(0, "context", "show", "--context", "there", "--address", "127.0.0.1:1").out, "there", "127.0.0.1:1")
	e.env["GCCTL_ADDRESS"] = "127.0.0.1:2"
	checkContains(t, "the environment", e.gcctl(0, "context", "show").out, "here", "127.0.0.1:2", secret, "set by the context here")

	e.env["GCCTL_CLIENT"] = "dev-reader"
	checkContains(t, "a client of the environment", e.gcctl(0, "context", "show").out, "client dev-reader", "set by GCCTL_CLIENT")
	checkContains(t, "a client of a flag", e.gcctl(0, "context", "show", "--client", "dev-mc").out, "client dev-mc", "set by --client")
	e.env["GCCTL_TOKEN"] = "a.b.c"
	checkContains(t, "a token of the environment", e.gcctl(0, "context", "show").out, "set by GCCTL_TOKEN")
	checkContains(t, "a client of a flag", e.gcctl(0, "context", "show", "--client", "dev-mc").out, "client dev-mc", "set by --client")
}

func TestContextSet_InvalidFlags(t *testing.T) {
	t.Parallel()
	e := &environment{t: t, env: map[string]string{"HOME": t.TempDir()}}
	e.useNoTerminal()
	checkContains(t, "no address", e.gcctl(2, "context", "set", "bad").err, "there is no address: give --address HOST:PORT")
	e.gcctl(2, "context", "set", "bad", "--address", "gc.example")
	e.gcctl(2, "context", "set", "bad", "--address", "gc.example:1", "--client", "c")
}

func TestContextFile_InvalidContent(t *testing.T) {
	t.Parallel()
	e := &environment{t: t, env: map[string]string{"HOME": t.TempDir()}}
	e.useNoTerminal()

	for text, want := range map[string]string{
		"contexts:\n  a:\n    addr: x:1\n":                                                            "line 3: unknown field addr",
		"contexts:\n  a:\n    address: x:1\n    auth:\n      secret: s3cret\n":                        "line 5: unknown field secret",
		"contexts:\n  a:\n    http_address: x:1\n":                                                    "context a has no address",
		"contexts:\n  a:\n    address: x:1\n    tls:\n":                                               "line 4: tls is empty",
		"contexts:\n  a:\n    address: x:1\n    auth: {token_file: a, client_id: b, url: http://c}\n": "either token_file",
		"current-context: b\n":                                                                        "current-context is b",
		"contexts:\n  a:\n    address: x:1\n    auth: dev-admin-secret\n":                             "line 4: a value of the wrong type",
		"contexts: [": "line 1",
	} {
		got := e.gcctl(2, "regions", "--config", e.secretFile("config.yaml", text))
		checkContains(t, text, got.err, want)
		if strings.Contains(got.err, "operatorcli.") || strings.Contains(got.err, "dev-admin") {
			t.Errorf("the error names a Go type, or quotes what may be a secret: %s", got.err)
		}
	}

	checkContains(t, "a missing file", e.gcctl(2, "regions", "--config", "/nowhere/config.yaml").err,
		"there is no context file /nowhere/config.yaml")
}

func TestCredentials_Missing(t *testing.T) {
	t.Parallel()
	e := &environment{t: t, env: map[string]string{"HOME": t.TempDir()}}
	e.useNoTerminal()
	checkContains(t, "no credentials", e.gcctl(5, "regions", "--address", "gc.example:443").err, "--token-file", "GCCTL_TOKEN", "--context")
	checkContains(t, "no secret",
		e.gcctl(5, "regions", "--address", "gc.example:443", "--ac", "https://auth.example", "--client", "dev-admin").err,
		"--client-secret-file")
	checkContains(t, "no auth controller", e.gcctl(2, "regions", "--address", "gc.example:443", "--client", "ops").err, "--ac")
}
