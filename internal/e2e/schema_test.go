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

// execute changes the database without the server.
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

// checkMigrate runs "global-controller migrate" and checks its exit code and its output.
func checkMigrate(t *testing.T, databaseURL string, args []string, wantCode int, wants ...string) {
	t.Helper()
	var out bytes.Buffer
	args = append([]string{"migrate"}, args...)
	code := daemon.Main(t.Context(), append(args, "--database-url", databaseURL), &out, &out)
	if code != wantCode {
		t.Errorf("%v = %d, want %d:\n%s", args, code, wantCode, out.String())
	}
	for _, want := range wants {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%v lacks %q:\n%s", args, want, out.String())
		}
	}
}

// TestSchema_IncompatibleWithTheBinary changes the schema as a newer release would, while a server runs.
func TestSchema_IncompatibleWithTheBinary(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		execute(
			t, databaseURL,
			`INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, true)`,
			`UPDATE schema_compatibility SET min_binary_schema = 999`,
		)
		env.waitFor("/ready shows that the schema is incompatible", func() bool {
			return env.get("/ready", "").is(http.StatusServiceUnavailable, `"incompatible schema"`)
		})

		for _, want := range []string{"this replica is no longer ready", "needs a binary with schema version 999 or newer"} {
			if !strings.Contains(env.log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, env.log)
			}
		}

		// It can be shown, not migrated down, and no other server can start.
		checkMigrate(t, databaseURL, []string{"status"}, 0,
			"1000     (unknown to this binary: of a newer release)", "incompatible, it needs a binary with 999 or newer")
		checkMigrate(t, databaseURL, []string{"down", "0", "--yes"}, 1, "use the release that migrated it")

		other, err := daemon.New(env.cfg, daemon.NewLogger(env.log, env.cfg))
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Run(t.Context()); !errors.Is(err, store.ErrIncompatibleSchema) {
			t.Errorf("Run() = %v, want ErrIncompatibleSchema", err)
		}

		// When it allows this binary, the server is ready again, and another one starts with a warning.
		execute(t, databaseURL, `UPDATE schema_compatibility SET min_binary_schema = 2`)
		env.waitReady()
		checkMigrate(t, databaseURL, []string{"down", "0", "--yes"}, 1, "use the release that migrated it")
		env.shutDown()
		again := newEnvironment(t, databaseURL, nil).waitReady()
		if !strings.Contains(again.log.String(), "the database's schema is newer than this binary") {
			t.Errorf("the log lacks that the schema is newer:\n%s", again.log)
		}

		// Without the unknown migration it can be migrated down, unless a replica runs.
		execute(t, databaseURL, `DELETE FROM goose_db_version WHERE version_id = 1000`)
		checkMigrate(t, databaseURL, []string{"down", "0", "--yes"}, 1, "stop every replica and wait that long, or pass --while-replicas-run")
	})
}
