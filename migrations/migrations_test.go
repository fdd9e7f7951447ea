package migrations

import (
	"database/sql"
	"io/fs"
	"testing"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite"
)

func TestMigrations_SQLiteUpDownUp(t *testing.T) {
	db, err := sql.Open("sqlite", "file:"+t.TempDir()+"/test.db")
	if err != nil {
		t.Fatalf("open: %v", err)
	}

	t.Cleanup(func() { _ = db.Close() })
	files, err := fs.Sub(FS, "sqlite")
	if err != nil {
		t.Fatalf("folder: %v", err)
	}

	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		t.Fatalf("provider: %v", err)
	}

	for _, step := range []func() error{
		func() error { _, err := provider.Up(t.Context()); return err },
		func() error { _, err := provider.DownTo(t.Context(), 0); return err },
		func() error { _, err := provider.Up(t.Context()); return err },
	} {
		if err := step(); err != nil {
			t.Fatalf("migrate: %v", err)
		}
	}

	// Older tools insert exactly these columns.
	if _, err := db.ExecContext(t.Context(), `INSERT INTO meeting_controllers
		(controller_id, region, endpoint, grpc_endpoint, max_meetings, max_participants, health_status)
		VALUES ('mc', 'eu', 'http://mc', 'http://mc', 1, 1, 'healthy')`); err != nil {
		t.Errorf("insert: %v", err)
	}

	if _, err := db.ExecContext(t.Context(), `UPDATE meeting_controllers SET health_status = 'well'`); err == nil {
		t.Error("an unknown state was stored")
	}

	if _, err := db.ExecContext(t.Context(), `UPDATE meeting_controllers SET updated_at = updated_at, current_meetings = 1`); err != nil {
		t.Errorf("update: %v", err)
	}
}
