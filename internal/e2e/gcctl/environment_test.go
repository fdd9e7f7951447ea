package gcctl_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-kit/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/freeport"
	"darktower.example/global-controller/internal/operatorcli"
	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/pkg/devauth"
)

// testTimeout limits how long a test waits for a condition.
const testTimeout = 30 * time.Second

// environment is a Global Controller and its auth controller, on which a test runs commands of gcctl.
type environment struct {
	t      *testing.T
	ac     *devauth.Server
	acHTTP *httptest.Server
	// acDate returns the time that the auth controller sends in the Date header; nil for the true time.
	acDate func() time.Time
	cfg    daemon.Config
	server *daemon.Server
	// stopServer stops the Global Controller and waits for its end.
	stopServer func()
	conn       *grpc.ClientConn
	// env are the environment variables of the commands.
	env map[string]string
	// editProcess edits the process of each command.
	editProcess func(*operatorcli.Process)

	mu sync.Mutex
	// printed is the output of all commands, except for requested tokens.
	printed bytes.Buffer
}

// runOnBothStores runs a test over SQLite and over PostgreSQL.
func runOnBothStores(t *testing.T, test func(t *testing.T, e *environment), edits ...func(*daemon.Config)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newSQLiteEnvironment(t, edits...))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, newEnvironment(t, testpg.URL(t), edits...))
	})
}

func newSQLiteEnvironment(t *testing.T, edits ...func(*daemon.Config)) *environment {
	t.Helper()
	return newEnvironment(t, "sqlite:"+filepath.Join(t.TempDir(), "gc.db"), edits...)
}

func newEnvironment(t *testing.T, databaseURL string, edits ...func(*daemon.Config)) *environment {
	t.Helper()
	e := &environment{t: t}
	e.useNoTerminal()
	e.startAuthController()
	e.cfg = e.newConfig(databaseURL)
	for _, edit := range edits {
		edit(&e.cfg)
	}
	e.startServer()
	t.Cleanup(func() { e.stopServer() })

	var err error
	e.conn, err = grpc.NewClient(e.server.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.conn.Close() })

	e.env = map[string]string{
		"HOME":               t.TempDir(),
		"GCCTL_ADDRESS":      e.server.GRPCAddress(),
		"GCCTL_HTTP_ADDRESS": e.server.HTTPAddress(),
		"GCCTL_AC":           e.acHTTP.URL,
	}
	t.Cleanup(e.checkNoSecretPrinted)
	e.waitUntil("ready", func() bool {
		code, _ := e.get("/ready", "")
		return code == http.StatusOK
	})
	return e
}

func (e *environment) startAuthController() {
	e.t.Helper()
	ac, err := devauth.New("", time.Now)
	if err != nil {
		e.t.Fatal(err)
	}
	e.ac = ac
	e.acHTTP = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.acDate != nil {
			w.Header().Set("Date", e.acDate().UTC().Format(http.TimeFormat))
		}
		ac.ServeHTTP(w, r)
	}))
	e.t.Cleanup(e.acHTTP.Close)
}

// newConfig returns settings with fixed addresses, because some tests stop the server and start it again.
func (e *environment) newConfig(databaseURL string) daemon.Config {
	e.t.Helper()
	addresses, err := freeport.Find(2)
	if err != nil {
		e.t.Fatal(err)
	}

	cfg := daemon.DefaultConfig()
	cfg.DatabaseURL = databaseURL
	cfg.BindAddress, cfg.GRPCBindAddress = addresses[0], addresses[1]
	cfg.JWKSURL = e.acHTTP.URL + "/.well-known/jwks.json"
	cfg.ShutdownTimeout = 5 * time.Second
	cfg.RateLimitPerMinute = 1_000_000
	return cfg
}

// startServer starts the Global Controller, also after stopServer.
func (e *environment) startServer() {
	e.t.Helper()
	server, err := daemon.New(e.cfg, log.NewNopLogger())
	if err != nil {
		e.t.Fatal(err)
	}
	e.server = server

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	e.stopServer = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			e.t.Errorf("Run() = %v, want nil", err)
		}
	})
}

// checkNoSecretPrinted fails the test if a command printed a secret, or a token that was not requested.
func (e *environment) checkNoSecretPrinted() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, secret := range []string{"dev-admin-secret", "dev-reader-secret", "dev-mc-secret", "eyJ"} {
		if strings.Contains(e.printed.String(), secret) {
			e.t.Errorf("%q was printed:\n%s", secret, e.printed.String())
		}
	}
}

func (e *environment) waitUntil(what string, isTrue func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(testTimeout); !isTrue(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("%s: not within %v", what, testTimeout)
		}
	}
}

// get reads a path over HTTP, with a token for reading if a client is given. The status is 0 if there is no response.
func (e *environment) get(path, client string) (status int, body []byte) {
	e.t.Helper()
	scheme := "http://"
	if e.cfg.TLSCertFile != "" {
		scheme = "https://"
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, scheme+e.server.HTTPAddress()+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if client != "" {
		request.Header.Set("Authorization", "Bearer "+e.issueToken(client, "gc:read"))
	}

	response, err := (&http.Client{Transport: insecureTransport()}).Do(request)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return response.StatusCode, body
}

func (e *environment) issueToken(subject, scope string) string {
	e.t.Helper()
	token, err := e.ac.Token(subject, map[string]any{"scope": scope})
	if err != nil {
		e.t.Fatal(err)
	}
	return token
}

// secretFile writes a file that only its owner can read.
func (e *environment) secretFile(name, text string) string {
	e.t.Helper()
	path := filepath.Join(e.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		e.t.Fatal(err)
	}
	return path
}
