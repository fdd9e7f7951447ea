// Package e2e tests the Global Controller from end to end: the server of package daemon over both databases, with the calls that
// controllers and operators make over gRPC and HTTP.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/testpg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// waitTimeout is how long a test waits for what must happen. No test measures it.
	waitTimeout = 30 * time.Second
	// sweepInterval is the interval of the health checker's sweeps.
	sweepInterval = 5 * time.Second
)

// forEachStore runs a test over SQLite and over PostgreSQL.
func forEachStore(t *testing.T, test func(t *testing.T, databaseURL string)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, sqliteURL(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, testpg.URL(t))
	})
}

func sqliteURL(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "gc.db") }

// logBuffer collects the log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// environment is a running Global Controller with its auth controller.
type environment struct {
	t      *testing.T
	cfg    daemon.Config
	server *daemon.Server // nil if the server is another process
	issuer *issuer
	log    *logBuffer
	conn   *grpc.ClientConn
	http   *http.Client
	// httpAddress is the address of the HTTP listener.
	httpAddress   string
	beginShutdown context.CancelFunc
	ended         chan error
}

// newEnvironment starts a Global Controller on free ports. It does not wait until it is ready.
func newEnvironment(t *testing.T, databaseURL string, change func(*daemon.Config)) *environment {
	t.Helper()
	env := &environment{t: t, issuer: newIssuer(t), log: &logBuffer{}, cfg: daemon.DefaultConfig()}
	env.cfg.DatabaseURL = databaseURL
	env.cfg.BindAddress = "127.0.0.1:0"
	env.cfg.GRPCBindAddress = "127.0.0.1:0"
	env.cfg.JWKSURL = env.issuer.server.URL
	env.cfg.LogLevel = "debug"
	env.cfg.ShutdownTimeout = 5 * time.Second
	env.cfg.RateLimitPerMinute = 1_000_000 // Tests make many calls.
	if change != nil {
		change(&env.cfg)
	}

	env.start()
	return env
}

// start starts a server with the configuration. After [environment.shutDown] it may be called again.
func (env *environment) start() {
	env.t.Helper()
	server, err := daemon.New(env.cfg, daemon.NewLogger(env.log, env.cfg))
	if err != nil {
		env.t.Fatalf("New() = %v", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	env.server, env.httpAddress, env.beginShutdown = server, server.HTTPAddress(), cancel
	env.ended = make(chan error, 1)
	go func() { env.ended <- server.Run(ctx) }()

	env.conn = env.newConn()
	env.http = &http.Client{Transport: &http.Transport{}}
	env.t.Cleanup(env.shutDown)
}

// newConn returns another connection to the server.
func (env *environment) newConn() *grpc.ClientConn {
	env.t.Helper()
	conn, err := grpc.NewClient(env.server.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		env.t.Fatalf("connect: %v", err)
	}
	env.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// shutDown stops the server and checks that it ended without an error. It may be called twice.
func (env *environment) shutDown() {
	env.beginShutdown()
	_ = env.conn.Close()
	env.http.CloseIdleConnections()
	if env.ended == nil {
		return
	}

	select {
	case err := <-env.ended:
		if err != nil {
			env.t.Errorf("Run() = %v, want nil", err)
		}
	case <-time.After(waitTimeout):
		env.t.Error("the server did not stop")
	}

	env.ended = nil
}

// waitFor waits until a condition holds.
func (env *environment) waitFor(what string, holds func() bool) {
	env.t.Helper()
	for deadline := time.Now().Add(waitTimeout); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			env.t.Fatalf("%s: not within %v; log:\n%s", what, waitTimeout, env.log)
		}
	}
}

func (env *environment) waitReady() *environment {
	env.t.Helper()
	env.waitFor("ready", func() bool { return env.get("/ready", "").status == http.StatusOK })
	return env
}

// waitSweeps waits until sweeps mark controllers stale, which they do not for one threshold after a first start.
func (env *environment) waitSweeps() {
	env.t.Helper()
	env.waitFor("sweeps that mark controllers stale", func() bool {
		return strings.Contains(env.get("/metrics", "").body, "\ngc_health_checker_hold 0\n")
	})
}

// profileAddress returns the address that serves profiles, which the server logs.
func (env *environment) profileAddress() string {
	env.t.Helper()
	found := regexp.MustCompile(`msg="serving profiles" address=(\S+)`).FindStringSubmatch(env.log.String())
	if found == nil {
		env.t.Fatalf("the log has no address of profiles:\n%s", env.log)
	}
	return found[1]
}

// readMetric returns the value of a series of /metrics; ok is false if the series does not exist.
func (env *environment) readMetric(series string) (value float64, ok bool) {
	env.t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(env.get("/metrics", "").body)
	if found == nil {
		return 0, false
	}
	value, err := strconv.ParseFloat(found[1], 64)
	return value, err == nil
}

// httpResponse is a response over HTTP.
type httpResponse struct {
	status int
	header http.Header
	body   string
}

func (r httpResponse) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), into); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
}

// is reports whether the response has the status, and a body with all of the parts.
func (r httpResponse) is(status int, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(r.body, part) {
			return false
		}
	}
	return r.status == status
}

func (r httpResponse) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

func (env *environment) get(path, token string) httpResponse {
	env.t.Helper()
	return env.request(http.MethodGet, path, "", bearer(token))
}

func bearer(token string) http.Header {
	if token == "" {
		return http.Header{}
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

func (env *environment) request(method, path, body string, header http.Header) httpResponse {
	env.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, "http://"+env.httpAddress+path, strings.NewReader(body))
	if err != nil {
		env.t.Fatalf("%s %s: %v", method, path, err)
	}

	maps.Copy(request.Header, header)
	if body != "" && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}

	response, err := env.http.Do(request)
	if err != nil {
		env.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()

	text, err := io.ReadAll(response.Body)
	if err != nil {
		env.t.Fatalf("%s %s: %v", method, path, err)
	}
	return httpResponse{response.StatusCode, response.Header, string(text)}
}
