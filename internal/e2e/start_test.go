package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/testpg"
)

// TestStart_FirstStartLogsNoWarning starts with a new store, in which there is no gap to warn of.
func TestStart_FirstStartLogsNoWarning(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.waitFor("the first sweep", func() bool { return strings.Contains(env.log.String(), "hold=true") })
		for line := range strings.Lines(env.log.String()) {
			if strings.Contains(line, "level=warn") || strings.Contains(line, "level=error") {
				t.Errorf("logged at a first start: %s", line)
			}
		}
	})
}

// TestStart_WaitsForStore starts the server before its database.
func TestStart_WaitsForStore(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t)
	cluster.Kill()
	env := newEnvironment(t, cluster.URL(), nil)
	env.waitFor("alive", func() bool { return env.get("/health", "").body == "OK" })
	env.waitFor("a key", func() bool { return strings.Contains(env.get("/ready", "").body, `"keys":"ok"`) })
	for _, via := range protocols() {
		if got := env.send(via, call{"FastHeartbeat", "mc", fastHeartbeat(), env.controllerAuth()}); got != unavailable {
			t.Errorf("%s: heartbeat before the store is available = %v, want %v", via.name, got, unavailable)
		}
	}

	got := env.get("/ready", "")
	var ready struct{ Checks map[string]string }
	if err := json.Unmarshal([]byte(got.body), &ready); err != nil || got.status != http.StatusServiceUnavailable {
		t.Errorf("/ready = %d %s, want 503", got.status, got.body)
	}

	for _, check := range []string{"store", "heartbeats", "schema"} {
		if state := ready.Checks[check]; state != "starting" {
			t.Errorf("/ready shows %s as %q before the store was reached, want starting", check, state)
		}
	}

	cluster.Restart()
	env.waitReady()
	env.register("mc", registration())
}

func TestNew_AddressInUse(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), nil).waitReady()
	for _, change := range []func(*daemon.Config){
		func(c *daemon.Config) { c.BindAddress = env.httpAddress },
		func(c *daemon.Config) { c.GRPCBindAddress = env.server.GRPCAddress() },
	} {
		cfg := env.cfg
		cfg.DatabaseURL = sqliteURL(t)
		change(&cfg)
		server, err := daemon.New(cfg, daemon.NewLogger(env.log, cfg))
		if err == nil || server != nil || !strings.Contains(err.Error(), "listen for") {
			t.Errorf("New() = %v, %v, want an error that names the listener", server, err)
		}
	}
}
