package daemon

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"go.uber.org/goleak"

	"darktower.example/global-controller/pkg/health"
	"darktower.example/global-controller/pkg/metrics"
	"darktower.example/global-controller/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newTestConfig returns a configuration with free ports, an SQLite file of the test, and an auth controller that is unreachable.
func newTestConfig(t *testing.T) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DatabaseURL = sqliteScheme + filepath.Join(t.TempDir(), "gc.db")
	cfg.BindAddress = "127.0.0.1:0"
	cfg.GRPCBindAddress = "127.0.0.1:0"
	cfg.JWKSURL = "http://127.0.0.1:1/jwks.json"
	return cfg
}

func newTestServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	server, err := New(cfg, log.NewNopLogger())
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	t.Cleanup(server.Close)
	return server
}

func TestServer_CloseTwice(t *testing.T) {
	t.Parallel()
	server := newTestServer(t, newTestConfig(t))
	closed := 0
	server.addCleanup("test", func() error { closed++; return nil })
	server.Close()
	server.Close()
	if closed != 1 {
		t.Errorf("cleanups ran %d times, want once", closed)
	}
	if _, err := server.httpListener.Accept(); err == nil {
		t.Error("the listener accepts a connection after Close()")
	}
}

// TestNew_FailureReleasesListeners makes the last listener fail, and checks that the first one can be bound again.
func TestNew_FailureReleasesListeners(t *testing.T) {
	t.Parallel()
	cfg := newTestConfig(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.GRPCBindAddress = free.Addr().String()
	_ = free.Close()
	cfg.PprofAddress = newTestServer(t, newTestConfig(t)).GRPCAddress()
	if failed, err := New(cfg, log.NewNopLogger()); err == nil || failed != nil || !strings.Contains(err.Error(), "listen for profiles") {
		t.Fatalf("New() with an address in use = %v, %v, want an error and no server", failed, err)
	}

	again, err := net.Listen("tcp", cfg.GRPCBindAddress)
	if err != nil {
		t.Fatalf("the gRPC listener is still bound: %v", err)
	}
	_ = again.Close()
}

func TestServer_NoTracesByDefault(t *testing.T) {
	t.Parallel()
	if server := newTestServer(t, newTestConfig(t)); server.traces != nil {
		t.Error("traces are recorded without GC_TRACE_ENDPOINT")
	}
}

// TestServiceability_States checks what /ready shows before the store was reached, after that, and during the shutdown.
func TestServiceability_States(t *testing.T) {
	t.Parallel()
	server := newTestServer(t, newTestConfig(t))
	states := server.serviceable.States()
	for check, want := range map[string]string{
		"store": "starting", "heartbeats": "starting", "schema": "starting", "keys": "none", "clock": health.StateOK, "server": health.StateOK,
	} {
		if states[check] != want {
			t.Errorf("state of %s = %q, want %q", check, states[check], want)
		}
	}
	if len(states) != 6 {
		t.Errorf("%d conditions, want 6: %v", len(states), states)
	}

	close(server.migrated)
	states = server.serviceable.States()
	if states["heartbeats"] != health.StateOK || states["schema"] != health.StateOK {
		t.Errorf("states after the migration = %v, want heartbeats and schema ok", states)
	}

	server.beginShutdown()
	if state := server.serviceable.States()["server"]; state != "draining" {
		t.Errorf("state of server after the shutdown began = %q, want draining", state)
	}
}

// TestServiceability_VouchesNotWithoutKeys checks that a replica which cannot verify tokens does not vouch for the service, so
// that no controller is marked stale because of it.
func TestServiceability_VouchesNotWithoutKeys(t *testing.T) {
	t.Parallel()
	server := newTestServer(t, newTestConfig(t))
	close(server.migrated)
	if server.auth.keysState() == health.StateOK || server.serviceable.CanVouch() {
		t.Errorf("keys are %q and CanVouch() is %v, want a failure and false", server.auth.keysState(), server.serviceable.CanVouch())
	}
}

func TestEventLog_DroppedKeys(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	events, err := newEventLog(log.NewLogfmtLogger(&out), metrics.New("test", 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	events.logDroppedKeys()
	if out.Len() > 0 {
		t.Errorf("log = %s, want none without refused controllers", out.String())
	}

	for _, id := range []string{"mc-1", "mc-2", "mc-2"} {
		events.recordRefusal(id, service.RefusedKeyDropped)
	}
	events.logDroppedKeys()
	if got := out.String(); !strings.Contains(got, "no longer published") || !strings.Contains(got, "controllers=2") {
		t.Errorf("log = %s, want the number of controllers", got)
	}
}
