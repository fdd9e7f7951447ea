package e2e

import (
	"bytes"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"testing"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/pkg/store"
)

// execute changes a database behind the service's back.
func execute(t *testing.T, databaseURL string, statements ...string) {
	t.Helper()
	driver, source := "postgres", databaseURL
	if path, isSQLite := strings.CutPrefix(databaseURL, "sqlite:"); isSQLite {
		driver, source = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func TestSchema_IncompatibleWithTheBinary(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		// A newer release comes while this one runs: it is ready no more, and says why.
		env := newEnvironment(t, databaseURL, nil).waitReady()
		execute(t, databaseURL, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, true)`, `UPDATE schema_compatibility SET min_binary_schema = 999`)
		env.waitFor("/ready says that the schema is incompatible", func() bool {
			got := env.get("/ready", "")
			return got.status == http.StatusServiceUnavailable && strings.Contains(got.body, `"incompatible schema"`)
		})
		if log := env.log.String(); !strings.Contains(log, "this replica is no longer ready") || !strings.Contains(log, "needs a binary with schema version 999 or newer") {
			t.Errorf("the log lacks the reason:\n%s", log)
		}

		// What is asked of it still shows it, and it cannot be taken back.
		run := func(args ...string) (int, string) {
			var out, errs bytes.Buffer
			return daemon.Main(t.Context(), append(args, "--database-url", databaseURL), &out, &errs), out.String() + errs.String()
		}
		if code, out := run("migrate", "status"); code != 0 || !strings.Contains(out, "1000     (unknown to this binary: of a newer release)") || !strings.Contains(out, "incompatible, it needs a binary with 999 or newer") {
			t.Errorf("migrate status = %d:\n%s\nwant the unknown migration and that it is incompatible", code, out)
		}
		if code, out := run("migrate", "down", "0", "--yes"); code != 1 || !strings.Contains(out, "use the release that made it") {
			t.Errorf("migrate down = %d:\n%s\nwant it refused", code, out)
		}

		// A start is refused.
		late, err := daemon.New(env.cfg, daemon.NewLogger(env.log, env.cfg))
		if err != nil {
			t.Fatal(err)
		}
		if err := late.Run(t.Context()); !errors.Is(err, store.ErrIncompatibleSchema) {
			t.Errorf("Run() = %v, want ErrIncompatibleSchema", err)
		}

		// It says that this binary may use it: the replica is ready again, and the start of another one warns only.
		execute(t, databaseURL, `UPDATE schema_compatibility SET min_binary_schema = 2`)
		env.waitReady()
		if code, out := run("migrate", "down", "0", "--yes"); code != 1 || !strings.Contains(out, "use the release that made it") {
			t.Errorf("migrate down = %d:\n%s\nwant it refused", code, out)
		}

		env.shutDown()
		again := newEnvironment(t, databaseURL, nil).waitReady()
		if !strings.Contains(again.log.String(), "the database's schema is newer than this binary") {
			t.Errorf("the log lacks that the schema is newer:\n%s", again.log)
		}

		// Without the unknown one it can be taken back, if no replica runs.
		execute(t, databaseURL, `DELETE FROM goose_db_version WHERE version_id = 1000`)
		if code, out := run("migrate", "down", "0", "--yes"); code != 1 || !strings.Contains(out, "stop every replica and wait that long, or pass --while-replicas-run") {
			t.Errorf("migrate down while a replica runs = %d:\n%s\nwant it refused", code, out)
		}
	})
}
