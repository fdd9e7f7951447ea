package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

func TestSQLite_FolderIsPrivate(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b")
	openMigrated(t, sqliteScheme+"//"+filepath.Join(folder, "gc.db"))
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder = %v, %v, want mode 0700", info, err)
	}
	if _, err := os.Stat(filepath.Join(folder, "gc.db")); err != nil {
		t.Errorf("database: %v", err)
	}
}

func TestSQLite_Settings(t *testing.T) {
	s := openMigrated(t, sqliteURL(t))
	for setting, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "4000"} {
		var got string
		if err := s.writeDB.GetContext(t.Context(), &got, "PRAGMA "+setting); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", setting, got, err, want)
		}
	}
	if _, err := s.readDB.ExecContext(t.Context(), `DELETE FROM meeting_controllers`); err == nil {
		t.Error("a reading connection can write")
	}
}

func TestOpen_FileIsNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gc.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(sqliteScheme + path); err == nil || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("Open(not a database) = %v, want an error that says so", err)
	}
}

func TestSQLite_BusyIsUnavailable(t *testing.T) {
	url := sqliteURL(t)
	holder := openMigrated(t, url)
	s := openUnmigrated(t, Config{URL: url, Timeout: 500 * time.Millisecond})
	tx, err := holder.writeDB.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := s.Heartbeat(t.Context(), service.HeartbeatWrite{ControllerID: "mc"}); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Heartbeat(another process writes) = %v, want ErrUnavailable", err)
	}
	if _, err := s.IsRegistered(t.Context(), "mc"); err != nil {
		t.Errorf("IsRegistered(another process writes) = %v, want nil: readers do not wait", err)
	}
}

func TestSQLite_IndexesOmitHeartbeatColumns(t *testing.T) {
	s := openMigrated(t, sqliteURL(t))
	var columns []string
	if err := s.readDB.SelectContext(t.Context(), &columns, `SELECT coalesce(c.name, '') FROM pragma_index_list('meeting_controllers') AS i,
		pragma_index_xinfo(i.name) AS c`); err != nil {
		t.Fatalf("read indexes: %v", err)
	}
	wantNoHeartbeatColumns(t, columns)
}

func wantNoHeartbeatColumns(t *testing.T, columns []string) {
	t.Helper()
	if len(columns) < 3 {
		t.Errorf("indexed columns = %v, want at least three", columns)
	}
	for _, column := range columns {
		if column == "last_heartbeat_at" || column == "updated_at" || strings.HasPrefix(column, "current_") {
			t.Errorf("an index holds %s, which every heartbeat changes", column)
		}
	}
}
