package gcctl_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/operatorcli"
	"darktower.example/global-controller/internal/testpg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// execute runs one command as gcctl does, with the environment of this process.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return operatorcli.Execute(ctx, args, operatorcli.NewProcess(os.Stdin, stdout, stderr, daemon.Version))
}

// run runs one command until its end.
func run(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := execute(t.Context(), args, &out, &errs)
	return result{code, out.String(), errs.String()}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// freeAddresses makes gcctl dev listen on free ports.
func freeAddresses() []string {
	return []string{"--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--ac", "127.0.0.1:0"}
}

// startDev runs gcctl dev on free ports. It returns the output, and a function that interrupts it and returns the exit code.
func startDev(t *testing.T, args ...string) (out *lockedBuffer, interrupt func() int) {
	t.Helper()
	out = &lockedBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	args = append(append([]string{"dev"}, freeAddresses()...), args...)
	go func() { ended <- execute(ctx, args, out, out) }()

	interrupt = sync.OnceValue(func() int {
		cancel()
		code := <-ended
		http.DefaultClient.CloseIdleConnections()
		return code
	})
	t.Cleanup(func() { interrupt() })
	return out, interrupt
}

// waitForOutput waits until a pattern is printed, and returns its groups.
func waitForOutput(t *testing.T, out *lockedBuffer, pattern string) []string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(20 * time.Millisecond) {
		if found := expression.FindStringSubmatch(out.String()); found != nil {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not printed:\n%s", pattern, out)
		}
	}
}

func TestDev_FleetBecomesHealthy(t *testing.T) {
	t.Parallel()
	stores := map[string]func(t *testing.T) []string{
		"sqlite":   func(*testing.T) []string { return nil },
		"postgres": func(t *testing.T) []string { return []string{"--database", testpg.URL(t)} },
	}

	for name, storeFlags := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, interrupt := startDev(t, append(storeFlags(t), "--data", t.TempDir())...)
			waitForOutput(t, out, `all 12 controllers are healthy`)
			if got := strings.Count(out.String(), "pending -> healthy"); got != 12 {
				t.Errorf("lines of pending -> healthy = %d, want 12:\n%s", got, out)
			}

			printed := waitForOutput(t, out, `curl -s -H 'authorization: (Bearer \S+)' (http://\S+)`)
			status, body := getWithToken(t, printed[2], printed[1])
			if got := strings.Count(body, `"health":"healthy"`); status != http.StatusOK || got != 12 {
				t.Errorf("the printed curl command = %d with %d healthy, want 200 and 12", status, got)
			}

			if code := interrupt(); code != 0 {
				t.Errorf("exit code = %d, want 0:\n%s", code, out)
			}
			if !strings.Contains(out.String(), "stopped") || !strings.Contains(out.String(), "FOR DEVELOPMENT ONLY") {
				t.Errorf("want a warning, and a line for the end:\n%s", out)
			}
		})
	}
}

func getWithToken(t *testing.T, url, authorization string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", authorization)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("get %s: %v", url, err)
	}
	defer func() { _ = response.Body.Close() }()

	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("get %s: %v", url, err)
	}
	return response.StatusCode, string(text)
}

func TestDev_RestartReusesFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for range 2 {
		out, interrupt := startDev(t, "--data", folder, "--controllers", "3")
		waitForOutput(t, out, `all 3 controllers are healthy`)
		if code := interrupt(); code != 0 {
			t.Fatalf("exit code = %d, want 0:\n%s", code, out)
		}
	}
	if keys, err := filepath.Glob(filepath.Join(folder, "dev-auth-key.pem")); err != nil || len(keys) != 1 {
		t.Errorf("keys = %v, %v, want the one of the first start", keys, err)
	}
}

func TestDev_FolderInUse(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	out, _ := startDev(t, "--data", folder, "--controllers", "1")
	waitForOutput(t, out, `gcctl token --client dev-admin --ac http://127`)
	waitForOutput(t, out, `export GCCTL_ADDRESS=127\S+ GCCTL_HTTP_ADDRESS=127\S+ GCCTL_AC=http://127`)

	got := run(t, append(append([]string{"dev"}, freeAddresses()...), "--data", folder)...)
	if got.code != 1 || !strings.Contains(got.err, "--data") {
		t.Errorf("gcctl dev in a folder that is in use = %d %s, want 1 and advice", got.code, got.err)
	}
}

func TestDev_AddressInUse(t *testing.T) {
	t.Parallel()
	out, _ := startDev(t, "--data", t.TempDir(), "--controllers", "1")
	used := waitForOutput(t, out, `auth controller\s+http://(\S+)`)[1]

	got := run(t, "dev", "--ac", used, "--data", t.TempDir())
	if got.code != 1 || !strings.Contains(got.err, "another gcctl dev") {
		t.Errorf("gcctl dev --ac with a used address = %d %s, want 1 and advice", got.code, got.err)
	}
	got = run(t, "dev", "--ac", "127.0.0.1:0", "--http", used, "--grpc", "127.0.0.1:0", "--data", t.TempDir())
	if got.code != 1 || !strings.Contains(got.err, "--http") {
		t.Errorf("gcctl dev --http with a used address = %d %s, want 1 and advice", got.code, got.err)
	}
}

func TestUsageErrors_ExitCodeTwo(t *testing.T) {
	t.Parallel()

	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "dev"},
		{[]string{"fly"}, `unknown command "fly"`},
		{[]string{"--fly"}, "fly"},
		{[]string{"dev", "now"}, "flags only"},
		{[]string{"dev", "--controllers", "0"}, "1 to 1000"},
		{[]string{"dev", "--controllers", "many"}, "controllers"},
		{[]string{"dev", "--ac", "0.0.0.0:8082"}, "loopback"},
		{[]string{"dev", "--ac", "8082"}, "HOST:PORT"},
		{[]string{"dev", "--log-level", "loud", "--ac", "127.0.0.1:0", "--data", t.TempDir()}, "debug, info"},
	} {
		if got := run(t, tc.args...); got.code != 2 || !strings.Contains(got.err, tc.want) {
			t.Errorf("gcctl %v = %d:\n%s\nwant 2 and %q", tc.args, got.code, got.err, tc.want)
		}
	}
}

func TestVersion_CommandAndFlag(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"--version", "version"} {
		if got := run(t, arg); got.code != 0 || strings.TrimSpace(got.out) != daemon.Version {
			t.Errorf("gcctl %s = %d %q, want 0 and the version", arg, got.code, got.out)
		}
	}
}

func TestDev_Help(t *testing.T) {
	t.Parallel()
	if got := run(t, "dev", "--help"); got.code != 0 || !strings.Contains(got.out, "--kill-one") {
		t.Errorf("gcctl dev --help = %d:\n%s%s", got.code, got.out, got.err)
	}
}
