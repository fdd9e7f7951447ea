package gcctl_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/operatorcli"
)

func sqliteWorld(t *testing.T, change ...func(*daemon.Config)) *world {
	t.Helper()
	return newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "gc.db"), change...)
}

func TestContextsAreMadeUsedAndShown(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.register(controllerOf("mc-1", "eu", 1))
	path := filepath.Join(w.env["HOME"], ".config", "gcctl", "config.yaml")
	address, ac := w.env["GCCTL_ADDRESS"], w.env["GCCTL_AC"]
	w.env = map[string]string{"HOME": w.env["HOME"]}
	contains(t, "no contexts", w.want(0, "context", "ls").err, "there are no contexts")
	contains(t, "no context", w.want(0, "context", "show").out, "127.0.0.1:50051", "dev-reader")

	secret := w.file("secret", "dev-admin-secret\n")
	w.want(0, "context", "set", "here", "--address", address, "--http-address", w.server.HTTPAddress(), "--ac", ac, "--client", "dev-admin", "--client-secret-file", secret)
	w.want(0, "context", "set", "there", "--address", "gc.example:443", "--tls", "--token-file", "/nowhere")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the context file: %v, %v, want one for its owner only", info, err)
	}
	contains(t, "context ls", w.want(0, "context", "ls").out, "*  here   "+address, "there", "gc.example:443", "yes")
	if got := w.ids(); got != "mc-1" {
		t.Errorf("fleet ls in the first context = %q, want mc-1", got)
	}
	w.want(0, "drain", "mc-1", "--yes", "--force")
	w.want(0, "context", "use", "there")
	contains(t, "context show", w.want(0, "context", "show").out, "there", "gc.example:443", "yes; authorities: those of this system", "the file /nowhere")
	contains(t, "no token file", w.want(5, "regions").err, "/nowhere")
	w.want(0, "regions", "--context", "here")
	w.env["GCCTL_CONTEXT"] = "here"
	w.want(0, "regions")
	// A flag comes before the environment, the environment before the file.
	contains(t, "flag first", w.want(0, "context", "show", "--context", "there", "--address", "127.0.0.1:1").out, "there", "127.0.0.1:1")
	w.env["GCCTL_ADDRESS"] = "127.0.0.1:2"
	contains(t, "environment first", w.want(0, "context", "show").out, "here", "127.0.0.1:2", secret)
	contains(t, "unknown", w.want(2, "regions", "--context", "nowhere").err, "no context nowhere")
	w.want(2, "context", "use", "nowhere")
	w.want(2, "context", "rm", "nowhere")
	contains(t, "context rm", w.want(0, "context", "rm", "there").err, "no context is the current one now")
	if got := w.want(0, "context", "ls").out; strings.Contains(got, "there") {
		t.Errorf("a context that was removed is listed:\n%s", got)
	}
	contains(t, "no address", w.want(2, "context", "set", "bad").err, "there is no address: give --address HOST:PORT")
	w.want(2, "context", "set", "bad", "--address", "gc.example")
	w.want(2, "context", "set", "bad", "--address", "gc.example:1", "--client", "c")

	delete(w.env, "GCCTL_ADDRESS")
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	contains(t, "an open secret", w.want(0, "regions").err, "others can read", "chmod 600")
}

func TestAContextFileIsReadStrictly(t *testing.T) {
	t.Parallel()
	w := &world{t: t, env: map[string]string{"HOME": t.TempDir()}, change: func(*operatorcli.Process) {}}
	for text, want := range map[string]string{
		"contexts:\n  a:\n    addr: x:1\n":                                                            "line 3: unknown field addr",
		"contexts:\n  a:\n    address: x:1\n    auth:\n      secret: s3cret\n":                        "line 5: unknown field secret",
		"contexts:\n  a:\n    http_address: x:1\n":                                                    "the context a has no address",
		"contexts:\n  a:\n    address: x:1\n    tls:\n":                                               "line 4: tls is empty",
		"contexts:\n  a:\n    address: x:1\n    auth: {token_file: a, client_id: b, url: http://c}\n": "either token_file",
		"current-context: b\n":                                                                        "current-context is b",
		"contexts:\n  a:\n    address: x:1\n    auth: dev-admin-secret\n":                             "line 4: a value of the wrong kind",
		"contexts: [": "line 1",
	} {
		got := w.want(2, "regions", "--config", w.file("config.yaml", text))
		contains(t, text, got.err, want)
		if strings.Contains(got.err, "operate.") || strings.Contains(got.err, "dev-admin") {
			t.Errorf("the error names a type, or quotes what may be a secret: %s", got.err)
		}
	}
	contains(t, "named and missing", w.want(2, "regions", "--config", "/nowhere/config.yaml").err, "there is no context file /nowhere/config.yaml")
	contains(t, "nothing to get a token with", w.want(5, "regions", "--address", "gc.example:443").err, "--token-file", "GCCTL_TOKEN", "--context")
	contains(t, "no secret", w.want(5, "regions", "--address", "gc.example:443", "--ac", "https://auth.example", "--client", "dev-admin").err, "--client-secret-file")
	contains(t, "no auth controller", w.want(2, "regions", "--address", "gc.example:443", "--client", "ops").err, "--ac")
}

func TestATokenIsPrintedForOtherTools(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	token := strings.TrimSpace(w.want(0, "token", "--client", "dev-admin").out)
	if strings.Count(token, ".") != 2 {
		t.Fatalf("gcctl token printed %d parts, want a token and nothing else", strings.Count(token, ".")+1)
	}
	shown := w.want(0, "token", "--show", "--scope", "gc:admin")
	contains(t, "token --show", shown.err, "dev-admin", "scopes         gc:admin", "in 59m")
	if shown.out != "" {
		t.Errorf("gcctl token --show printed %q to the standard output", shown.out)
	}
	w.want(5, "token", "--client", "dev-reader", "--scope", "gc:admin")
	w.want(5, "token", "--client", "nobody", "--client-secret-file", w.file("secret", "wrong"))

	w.env["GCCTL_TOKEN"] = token
	w.acHTTP.Close() // No auth controller is needed any more, once the keys are known.
	w.register(controllerOf("mc-1", "eu", 1))
	w.want(0, "drain", "mc-1", "--yes", "--force")
	delete(w.env, "GCCTL_TOKEN")
	w.want(0, "regions", "--token-file", w.file("token", token+"\n"))
	contains(t, "auth controller down", w.want(6, "regions").err, "auth controller", "connection refused", "gcctl dev", "gcctl doctor")
}

func TestExitCodesTellWhatWentWrong(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.register(controllerOf("mc-1", "eu", 1))
	reader, admin := w.file("reader", w.token("ops", "gc:read")), w.file("admin", w.token("ops", "gc:admin"))
	w.want(0, "regions", "--token-file", admin) // It includes to read.
	got := w.want(5, "undrain", "mc-1", "--token-file", reader)
	if want := "gcctl: the token may not do this: it needs the scope gc:admin; gcctl token --show tells what it may\n"; got.err != want {
		t.Errorf("undrain with a token for reading said\n%swant\n%s", got.err, want)
	}
	contains(t, "no valid token", w.want(5, "regions", "--token-file", w.file("bad", "not.a.token")).err, "refuses the token", "gcctl doctor")
	contains(t, "an empty file", w.want(5, "regions", "--token-file", w.file("empty", "\n")).err, "is empty")
	for _, args := range []string{"fleet", "fleet fly", "fleet ls --bogus", "history a b", "regions --timeout 0s", "fleet ls -o table", "--address", "drain"} {
		got := w.want(2, strings.Fields(args)...)
		if strings.Count(got.err, "\n") != 1 || !strings.Contains(got.err, "gcctl: ") || got.out != "" {
			t.Errorf("gcctl %s said\n%s%swant one line on the standard error", args, got.out, got.err)
		}
	}
	contains(t, "a word that is nearly right", w.want(2, "histroy").err, `unknown command "histroy"; did you mean history?; see gcctl --help`)
	for _, args := range []string{"--help", "fleet --help", "fleet ls --help", "drain --help", "doctor --help", "help history"} {
		contains(t, args, w.want(0, strings.Fields(args)...).out, "Examples:", "Usage:")
	}
	contains(t, "--help", w.want(0, "--help").out, operatorcli.ExitCodes)
	contains(t, "flags before the command", w.want(0, "--color", "always", "regions").out, "\x1b")

	w.stop()
	w.env["GCCTL_TOKEN"] = "a.b.c"
	began := time.Now()
	contains(t, "nobody there", w.want(6, "regions").err, "is not available (dial tcp", "connection refused", "gcctl doctor")
	if took := time.Since(began); took < time.Second {
		t.Errorf("a read was given up after %v, want it tried again for a while", took)
	}
	got = w.want(6, "undrain", "mc-1")
	if strings.Contains(got.err, "not known") {
		t.Errorf("it is known that nothing was done: nobody was there\n%s", got.err)
	}
}

func TestWordsAreCompleted(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.threeEach()
	for _, tc := range []struct {
		args string
		want []string
	}{
		{"fleet show mc-e", []string{"mc-eu-1\thealthy, eu\n", "mc-eu-2", "mc-eu-3", ":4\n"}},
		{"drain mc-eu-1 mc-e", []string{"mc-eu-2", "mc-eu-3"}},
		{"fleet ls --region ", []string{"eu\nus\n"}},
		{"fleet ls --state h", []string{"healthy\n"}},
		{"fleet ls --so", []string{"--sort"}},
		{"", []string{"fleet", "dev", "drain"}},
		{"simulate gc", []string{"gc-restart"}},
		{"dev --kill", []string{"--kill-one"}},
		{"simulate --", []string{"--real-time"}},
	} {
		args := append([]string{"__complete"}, strings.Split(tc.args, " ")...)
		contains(t, tc.args, w.want(0, args...).out, tc.want...)
	}
	if got := w.want(0, "__complete", "drain", "mc-eu-1", "mc-e").out; strings.Contains(got, "mc-eu-1") {
		t.Errorf("what is there already is completed again:\n%s", got)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		contains(t, shell, w.want(0, "completion", shell).out, "gcctl")
	}
	w.stop()
	if got := w.want(0, "__complete", "fleet", "show", ""); got.out != ":4\n" {
		t.Errorf("completion without a Global Controller printed %q, want nothing", got.out)
	}
}
