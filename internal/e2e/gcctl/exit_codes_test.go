package gcctl_test

import (
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/operatorcli"
)

func TestExitCodes_NoAccess(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.register(newTestController("mc-1", "eu", 1))
	reader := e.secretFile("reader", e.issueToken("ops", "gc:read"))
	admin := e.secretFile("admin", e.issueToken("ops", "gc:admin"))
	e.gcctl(0, "regions", "--token-file", admin) // gc:admin includes gc:read.

	got := e.gcctl(5, "undrain", "mc-1", "--token-file", reader)
	if want := "gcctl: the token lacks the scope gc:admin; show its scopes with gcctl token --show\n"; got.err != want {
		t.Errorf("undrain with a token for reading printed\n%swant\n%s", got.err, want)
	}
	checkContains(t, "no valid token", e.gcctl(5, "regions", "--token-file", e.secretFile("bad", "not.a.token")).err,
		"rejected the token", "gcctl doctor")
	checkContains(t, "an empty file", e.gcctl(5, "regions", "--token-file", e.secretFile("empty", "\n")).err, "is empty")
}

func TestExitCodes_UsageErrors(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	for _, args := range []string{
		"fleet", "fleet fly", "fleet ls --bogus", "history a b", "regions --timeout 0s", "fleet ls -o table", "--address", "drain",
	} {
		got := e.gcctl(2, strings.Fields(args)...)
		if strings.Count(got.err, "\n") != 1 || !strings.Contains(got.err, "gcctl: ") || got.out != "" {
			t.Errorf("gcctl %s printed\n%s%swant one line on standard error", args, got.out, got.err)
		}
	}
	checkContains(t, "a misspelled command", e.gcctl(2, "histroy").err,
		`unknown command "histroy"; did you mean history?; see gcctl --help`)
}

func TestHelp_ExamplesAndExitCodes(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	for _, args := range []string{
		"--help", "fleet --help", "fleet ls --help", "drain --help", "doctor --help", "help history", "dev --help", "simulate --help",
	} {
		checkContains(t, args, e.gcctl(0, strings.Fields(args)...).out, "Examples:", "Usage:")
	}
	checkContains(t, "--help", e.gcctl(0, "--help").out, operatorcli.ExitCodesHelp)
	e.register(newTestController("mc-1", "eu", 1))
	checkContains(t, "flags before the command", e.gcctl(0, "--color", "always", "regions").out, "\x1b")
}

func TestExitCodes_Unavailable(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.stopServer()
	e.env["GCCTL_TOKEN"] = "a.b.c"

	began := time.Now()
	checkContains(t, "no server", e.gcctl(6, "regions").err, "is unavailable (dial tcp", "connection refused", "gcctl doctor")
	if took := time.Since(began); took < time.Second {
		t.Errorf("a read was given up after %v, want retries for about 2 s", took)
	}
	if got := e.gcctl(6, "undrain", "mc-1"); strings.Contains(got.err, "outcome is unknown") {
		t.Errorf("a call that was never sent has an unknown outcome:\n%s", got.err)
	}
}
