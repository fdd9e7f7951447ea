package e2e

import (
	"context"
	"database/sql"
	"fmt"
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

	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	tx, err := db.BeginTx(t.Context(), nil)
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
	for time.Since(stopped) < 3*env.cfg.StalenessThreshold {
		if got := env.get("/ready", ""); got.status != http.StatusOK {
			t.Fatalf("/ready while one row is locked = %d %s, want 200", got.status, got.body)
		}
		if strings.Contains(env.get("/metrics", "").body, "\ngc_health_checker_hold 1\n") {
			t.Fatal("the checker holds while one row is locked")
		}

		fleet := env.listFleet()
		if health := fleet["locked"].Health; health == "unhealthy" {
			t.Fatalf("the controller whose row is locked is %s after %v", health, time.Since(stopped))
		}
		if late := time.Since(stopped); late > env.cfg.StalenessThreshold+sweepInterval+2*time.Second && fleet["stopping"].Health != "unhealthy" {
			t.Fatalf("the controller that stopped is %s after %v, want unhealthy", fleet["stopping"].Health, late)
		}

		time.Sleep(100 * time.Millisecond)
	}
}

// TestReady_HeartbeatsCannotBeCommitted checks that /ready fails while no beat can be committed, and names the condition.
func TestReady_HeartbeatsCannotBeCommitted(t *testing.T) {
	rename := func(from, to string) string { return fmt.Sprintf(`ALTER TABLE %s RENAME TO %s`, from, to) }

	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		execute(t, databaseURL, rename("meeting_controllers", "lost"))
		env.waitFor("/ready names the missing table", func() bool {
			got := env.get("/ready", "")
			return got.status == http.StatusServiceUnavailable && strings.Contains(got.body, `"store":"undefined_table"`)
		})
		execute(t, databaseURL, rename("lost", "meeting_controllers"))
		env.waitReady()
	})

	t.Run("read-only server", func(t *testing.T) {
		t.Parallel()
		url := testpg.URL(t)
		env := newEnvironment(t, url, nil).waitReady()
		var name string
		db, err := sql.Open("postgres", url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()

		if err := db.QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
			t.Fatal(err)
		}

		set := func(readOnly string) {
			t.Helper()

			for _, statement := range []string{
				`SET default_transaction_read_only = off`,
				`ALTER DATABASE ` + name + ` SET default_transaction_read_only = ` + readOnly,
				`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
			} {
				if _, err := db.ExecContext(context.Background(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
		}

		set("on")
		env.waitFor("/ready names the read-only server", func() bool {
			got := env.get("/ready", "")
			return got.status == http.StatusServiceUnavailable && strings.Contains(got.body, `"store":"read_only_sql_transaction"`)
		})
		set("off")
		env.waitReady()
	})
}
