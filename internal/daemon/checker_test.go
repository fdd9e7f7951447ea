package daemon

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

// readyState is what /ready answers.
func (w *world) readyState() (status int, body string) {
	got := w.get("/ready", "")
	return got.status, got.body
}

// serve registers controllers and has them send heartbeats until the test ends, past the hold of a first start.
func (w *world) serve(ids ...string) *beating {
	w.t.Helper()
	for _, id := range ids {
		if got := w.make(ways()[0], call{"RegisterMC", id, registration(), w.mc()}); got != (outcome{}) {
			w.t.Fatalf("RegisterMC(%s) = %v", id, got)
		}
	}
	beating := w.beat(ids...)
	w.until("the checker at work", func() bool { return strings.Contains(w.get("/metrics", "").body, "\ngc_health_checker_hold 0\n") })
	return beating
}

// TestChecker_OneLockedRowInAFleetOfTwo: a row that an open transaction holds keeps one controller's heartbeats out. That
// suspends nothing, and the controller is not called unhealthy for it.
func TestChecker_OneLockedRowInAFleetOfTwo(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	w := newWorld(t, url, quick).ready()
	living := w.serve("locked", "free")
	defer living.end()
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

	dying := w.beat("dying")
	if got := w.make(ways()[0], call{"RegisterMC", "dying", registration(), w.mc()}); got != (outcome{}) {
		t.Fatalf("RegisterMC(dying) = %v", got)
	}
	time.Sleep(time.Second)
	dying.end()
	died := time.Now()
	for time.Since(died) < 3*w.cfg.StalenessThreshold {
		if status, body := w.readyState(); status != http.StatusOK {
			t.Fatalf("/ready while one row is locked = %d %s, want 200", status, body)
		}
		if strings.Contains(w.get("/metrics", "").body, "\ngc_health_checker_hold 1\n") {
			t.Fatal("the checker holds while one row is locked")
		}
		fleet := w.fleet()
		if health := fleet["locked"].Health; health == "unhealthy" {
			t.Fatalf("the controller whose row is locked is %s after %v", health, time.Since(died))
		}
		if late := time.Since(died); late > w.cfg.StalenessThreshold+checkInterval+2*time.Second && fleet["dying"].Health != "unhealthy" {
			t.Fatalf("the dead controller is %s after %v, want unhealthy", fleet["dying"].Health, late)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestReady_HeartbeatsCannotBeCommitted: /ready follows the beats, and names the condition.
func TestReady_HeartbeatsCannotBeCommitted(t *testing.T) {
	rename := func(from, to string) string { return fmt.Sprintf(`ALTER TABLE %s RENAME TO %s`, from, to) }
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, nil).ready()
		execute(t, databaseURL, rename("meeting_controllers", "lost"))
		w.until("/ready names the missing table", func() bool {
			status, body := w.readyState()
			return status == http.StatusServiceUnavailable && strings.Contains(body, `"store":"undefined_table"`)
		})
		execute(t, databaseURL, rename("lost", "meeting_controllers"))
		w.until("/ready again", func() bool {
			status, _ := w.readyState()
			return status == http.StatusOK
		})
	})
	t.Run("read-only server", func(t *testing.T) {
		t.Parallel()
		url := testpg.URL(t)
		w := newWorld(t, url, nil).ready()
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
		w.until("/ready names the read-only server", func() bool {
			status, body := w.readyState()
			return status == http.StatusServiceUnavailable && strings.Contains(body, `"store":"read_only_sql_transaction"`)
		})
		set("off")
		w.until("/ready again", func() bool {
			status, _ := w.readyState()
			return status == http.StatusOK
		})
	})
}
