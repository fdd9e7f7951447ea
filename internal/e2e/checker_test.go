package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/testpg"
)

// startHealthyFleet registers controllers that send heartbeats until the test stops them, and waits for sweeps.
func (env *environment) startHealthyFleet(ids ...string) *heartbeatSenders {
	env.t.Helper()
	for _, id := range ids {
		env.register(id, registration())
	}
	senders := env.startHeartbeats(ids...)
	env.waitSweeps()
	return senders
}

// TestChecker_OneLockedRowInAFleetOfTwo locks the row of one of two controllers, so that its heartbeats cannot be committed.
// Sweeps go on, and the controller is not marked stale for it.
func TestChecker_OneLockedRowInAFleetOfTwo(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	env := newEnvironment(t, url, withShortIntervals).waitReady()
	senders := env.startHealthyFleet("locked", "free")
	defer senders.stopAll()

	tx, err := openDatabase(t, url).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `SELECT FROM meeting_controllers WHERE controller_id = 'locked' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}

	stopping := env.startHeartbeats("stopping")
	env.register("stopping", registration())
	time.Sleep(time.Second)
	stopping.stopAll()
	stopped := time.Now()

	limit := env.cfg.StalenessThreshold + sweepInterval + 2*time.Second
	for time.Since(stopped) < 3*env.cfg.StalenessThreshold {
		if got := env.get("/ready", ""); got.status != http.StatusOK {
			t.Fatalf("/ready while one row is locked = %v, want 200", got)
		}
		if hold, _ := env.readMetric("gc_health_checker_hold"); hold != 0 {
			t.Fatal("sweeps are held while one row is locked")
		}

		fleet, after := env.listFleet(), time.Since(stopped)
		if health := fleet["locked"].Health; health == "unhealthy" {
			t.Fatalf("the controller whose row is locked is %s after %v", health, after)
		}
		if health := fleet["stopping"].Health; after > limit && health != "unhealthy" {
			t.Fatalf("the controller that stopped is %s after %v, want unhealthy", health, after)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// waitStoreState waits until /ready fails because of a state of the store.
func (env *environment) waitStoreState(state string) {
	env.t.Helper()
	env.waitFor("/ready shows "+state, func() bool {
		return env.get("/ready", "").is(http.StatusServiceUnavailable, `"store":"`+state+`"`)
	})
}

// TestReady_HeartbeatsCannotBeCommitted checks that /ready fails while no beat can be committed, and names the condition.
func TestReady_HeartbeatsCannotBeCommitted(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		execute(t, databaseURL, `ALTER TABLE meeting_controllers RENAME TO lost`)
		env.waitStoreState("undefined_table")
		execute(t, databaseURL, `ALTER TABLE lost RENAME TO meeting_controllers`)
		env.waitReady()
	})

	t.Run("read-only server", func(t *testing.T) {
		t.Parallel()
		url := testpg.URL(t)
		env := newEnvironment(t, url, nil).waitReady()
		setReadOnly(t, url, "on")
		env.waitStoreState("read_only_sql_transaction")
		setReadOnly(t, url, "off")
		env.waitReady()
	})
}

// setReadOnly makes new transactions of a database read-only, or not, and ends its connections.
func setReadOnly(t *testing.T, url, readOnly string) {
	t.Helper()
	name := url[strings.LastIndexByte(url, '/')+1:]
	name, _, _ = strings.Cut(name, "?")
	execute(
		t, url,
		`SET default_transaction_read_only = off`,
		`ALTER DATABASE "`+name+`" SET default_transaction_read_only = `+readOnly,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
	)
}
