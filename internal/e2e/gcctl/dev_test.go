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

// executeWith runs one command with the streams, as gcctl does with those of its process.
func executeWith(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return operatorcli.Execute(ctx, args, operatorcli.NewProcess(os.Stdin, stdout, stderr, daemon.Version))
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

// runDev runs the development stack on free ports, and returns what it prints and what ends it.
func runDev(t *testing.T, args ...string) (out *lockedBuffer, end func() int) {
	t.Helper()
	out = &lockedBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	args = append([]string{"dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--ac", "127.0.0.1:0"}, args...)
	go func() { code <- executeWith(ctx, args, out, out) }()
	var once sync.Once
	ended := 0
	end = func() int {
		once.Do(func() {
			cancel()
			ended = <-code
			http.DefaultClient.CloseIdleConnections()
		})
		return ended
	}
	t.Cleanup(func() { end() })
	return out, end
}

func await(t *testing.T, out *lockedBuffer, pattern string) []string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if found := expression.FindStringSubmatch(out.String()); found != nil {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not printed:\n%s", pattern, out)
		}
	}
}

func TestDevShowsAFleetThatBecomesHealthy(t *testing.T) {
	stores := map[string]func(t *testing.T) []string{
		"sqlite":   func(*testing.T) []string { return nil },
		"postgres": func(t *testing.T) []string { return []string{"--database", testpg.URL(t)} },
	}
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			out, end := runDev(t, append(store(t), "--data", folder)...)
			await(t, out, `all 12 controllers are healthy`)
			if got := strings.Count(out.String(), "pending -> healthy"); got != 12 {
				t.Errorf("lines of pending -> healthy = %d, want 12:\n%s", got, out)
			}
			pasted := await(t, out, `curl -s -H 'authorization: (Bearer \S+)' (http://\S+)`)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, pasted[2], nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", pasted[1])
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatalf("the line to paste: %v", err)
			}
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if got := strings.Count(string(body), `"health":"healthy"`); response.StatusCode != http.StatusOK || got != 12 {
				t.Errorf("the line to paste = %d with %d healthy, want 200 and 12", response.StatusCode, got)
			}
			if code := end(); code != 0 {
				t.Errorf("exit code = %d, want 0:\n%s", code, out)
			}
			if !strings.Contains(out.String(), "stopped") || !strings.Contains(out.String(), "FOR DEVELOPMENT ONLY") {
				t.Errorf("want a warning and an end:\n%s", out)
			}
		})
	}
}

func TestDevBeginsAgainWhereItEnded(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for range 2 {
		out, end := runDev(t, "--data", folder, "--controllers", "3")
		await(t, out, `all 3 controllers are healthy`)
		if code := end(); code != 0 {
			t.Fatalf("exit code = %d, want 0:\n%s", code, out)
		}
	}
	if keys, err := filepath.Glob(filepath.Join(folder, "dev-auth-key.pem")); err != nil || len(keys) != 1 {
		t.Errorf("keys = %v, %v, want the one of the first start", keys, err)
	}
}

func TestTwoStacksDoNotShareAFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	out, _ := runDev(t, "--data", folder, "--controllers", "1")
	await(t, out, `gcctl token --client dev-admin --ac http://127`)
	await(t, out, `export GCCTL_ADDRESS=127\S+ GCCTL_HTTP_ADDRESS=127\S+ GCCTL_AC=http://127`)
	var errs bytes.Buffer
	if code := executeWith(t.Context(), []string{"dev", "--ac", "127.0.0.1:0", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data", folder}, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), "--data takes another folder") {
		t.Errorf("gcctl dev in a folder that is in use = %d %s, want 1 and what to do", code, errs.String())
	}
}

func TestWrongUseIsToldAndEndsWithTwo(t *testing.T) {
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
		var out, errs bytes.Buffer
		if code := executeWith(t.Context(), tc.args, &out, &errs); code != 2 || !strings.Contains(errs.String(), tc.want) {
			t.Errorf("gcctl %v = %d:\n%s\nwant 2 and %q", tc.args, code, errs.String(), tc.want)
		}
	}
	var out, errs bytes.Buffer
	if code := executeWith(t.Context(), []string{"--version"}, &out, &errs); code != 0 || strings.TrimSpace(out.String()) != daemon.Version {
		t.Errorf("gcctl --version = %d %q, want 0 and the version", code, out.String())
	}
	if code := executeWith(t.Context(), []string{"version"}, &out, &errs); code != 0 || out.Len() == 0 {
		t.Errorf("gcctl version = %d %q, want 0 and a version", code, out.String())
	}
	if code := executeWith(t.Context(), []string{"dev", "--help"}, &out, &errs); code != 0 || !strings.Contains(errs.String(), "--kill-one") && !strings.Contains(errs.String(), "-kill-one") {
		t.Errorf("gcctl dev --help = %d:\n%s", code, errs.String())
	}
}

func TestAnAddressThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	out, _ := runDev(t, "--data", t.TempDir(), "--controllers", "1")
	taken := await(t, out, `auth controller\s+http://(\S+)`)[1]
	var errs bytes.Buffer
	if code := executeWith(t.Context(), []string{"dev", "--ac", taken, "--data", t.TempDir()}, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), "another gcctl dev") {
		t.Errorf("gcctl dev on a taken address = %d %s, want 1 and what to do", code, errs.String())
	}
	if code := executeWith(t.Context(), []string{"dev", "--ac", "127.0.0.1:0", "--http", taken, "--grpc", "127.0.0.1:0", "--data", t.TempDir()}, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), "--http") {
		t.Errorf("gcctl dev on a taken address = %d %s, want 1 and what to do", code, errs.String())
	}
}
