package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

// applyFutureMigration makes the database look as if a newer release had migrated it.
func (s *Store) applyFutureMigration(t *testing.T, version, minBinary int64) {
	t.Helper()
	s.exec(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (?, true)`, version)
	s.exec(t, `UPDATE schema_compatibility SET min_binary_schema = ?`, minBinary)
}

func TestSchema_NewerThanBinary(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		s := openMigrated(t, url)
		state, err := s.Schema(t.Context())
		want := SchemaState{Version: BinarySchemaVersion(), BinaryVersion: BinarySchemaVersion(), MinBinaryVersion: 2}
		if err != nil || state != want || state.Err() != nil {
			t.Fatalf("Schema() = %+v, %v, want %+v", state, err, want)
		}

		// A newer schema that permits this binary is used, and logged.
		newer := BinarySchemaVersion() + 3
		s.applyFutureMigration(t, newer, BinarySchemaVersion())
		var logged strings.Builder
		if err := Migrate(t.Context(), url, log.NewLogfmtLogger(&logged)); err != nil {
			t.Errorf("Migrate(newer and compatible) = %v, want it accepted", err)
		}
		if !strings.Contains(logged.String(), "level=warn") || !strings.Contains(logged.String(), "schema is newer than this binary") {
			t.Errorf("logged %q, want a warning that the schema is newer", &logged)
		}

		states, state, err := MigrationStatus(t.Context(), url)
		if err != nil || !state.IsNewer() || !state.IsCompatible() {
			t.Errorf("MigrationStatus() = %+v, %v, want it newer and compatible", state, err)
		}

		last := states[len(states)-1]
		if last.Version != newer || !last.IsUnknown || last.Name != "" || time.Since(last.AppliedAt).Abs() > time.Hour {
			t.Errorf("the last migration is %+v, want the unknown one, applied now", last)
		}
		if err := MigrateDown(t.Context(), url, DownOptions{}, log.NewNopLogger()); !errors.Is(err, ErrUnknownMigration) {
			t.Errorf("MigrateDown(newer) = %v, want ErrUnknownMigration", err)
		}

		// A schema that does not permit this binary is rejected and not changed.
		s.exec(t, `UPDATE schema_compatibility SET min_binary_schema = ?`, newer)
		err = Migrate(t.Context(), url, log.NewNopLogger())
		hasAdvice := err != nil && strings.Contains(err.Error(), "run the newer release")
		if !errors.Is(err, ErrIncompatibleSchema) || errors.Is(err, service.ErrUnavailable) || !hasAdvice {
			t.Errorf("Migrate(incompatible) = %v, want ErrIncompatibleSchema with advice", err)
		}
		if state, err := s.Schema(t.Context()); err != nil || !errors.Is(state.Err(), ErrIncompatibleSchema) {
			t.Errorf("Schema() = %+v, %v, want ErrIncompatibleSchema", state, err)
		}
		if _, state, err = MigrationStatus(t.Context(), url); err != nil || state.IsCompatible() {
			t.Errorf("MigrationStatus() = %+v, %v, want an incompatible state without an error", state, err)
		}
	})
}

func TestSchema_EmptyDatabase(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		s := openUnmigrated(t, Config{URL: url})
		state, err := s.Schema(t.Context())
		if want := (SchemaState{BinaryVersion: BinarySchemaVersion()}); err != nil || state != want || !state.IsCompatible() {
			t.Errorf("Schema(empty database) = %+v, %v, want %+v", state, err, want)
		}
	})
}

func TestMigrateDown_RefusedWhileReplicasBeat(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		s := openMigrated(t, url)
		beat := service.Beat{Replica: service.Replica{ID: "gc"}, Vouches: true, Tolerance: 2500 * time.Millisecond}
		if _, err := s.Beat(t.Context(), beat); err != nil {
			t.Fatal(err)
		}

		err := MigrateDown(t.Context(), url, DownOptions{}, log.NewNopLogger())
		if !errors.Is(err, ErrSchemaInUse) || !strings.Contains(err.Error(), "--while-replicas-run") {
			t.Fatalf("MigrateDown(a replica beats) = %v, want ErrSchemaInUse and the flag that permits it", err)
		}

		s.exec(t, `DELETE FROM replicas`)
		for id, sinceBeat := range map[string]time.Duration{"gc-b": 0, "gc-a": 0, "gc-old": time.Minute} {
			s.exec(t, `INSERT INTO replicas (replica_id, version, staleness_threshold_ms, fast_interval_ms,
				comprehensive_interval_ms, max_connections, started_at, seen_at)
				VALUES (?, '1', 30000, 10000, 30000, 20, ?, ?)`, id, s.timeAgo(t, time.Hour), s.timeAgo(t, sinceBeat))
		}

		err = MigrateDown(t.Context(), url, DownOptions{}, log.NewNopLogger())
		if !errors.Is(err, ErrSchemaInUse) || !strings.Contains(err.Error(), "gc-a, gc-b beat within the last 10s") {
			t.Fatalf("MigrateDown(two replicas beat) = %v, want their ids", err)
		}

		s.exec(t, `DELETE FROM replicas`)
		if state, err := s.Schema(t.Context()); err != nil || state.Version != BinarySchemaVersion() {
			t.Errorf("Schema() = %+v, %v, want it unchanged", state, err)
		}

		// The last beat is old.
		s.exec(t, `UPDATE checker_state SET beat_at = ?`, s.timeAgo(t, inUseDuration+time.Second))
		s.exec(t, `UPDATE replicas SET seen_at = ?`, s.timeAgo(t, inUseDuration+time.Second))
		if err := MigrateDown(t.Context(), url, DownOptions{Version: BinarySchemaVersion() - 1}, log.NewNopLogger()); err != nil {
			t.Errorf("MigrateDown(no replica beats) = %v", err)
		}

		s.exec(t, `UPDATE checker_state SET beat_at = ?`, s.timeAgo(t, 0))
		if err := MigrateDown(t.Context(), url, DownOptions{WhileReplicasRun: true}, log.NewNopLogger()); err != nil {
			t.Errorf("MigrateDown(allowed) = %v", err)
		}
		if state, err := s.Schema(t.Context()); err != nil || state.Version != 0 {
			t.Errorf("Schema() = %+v, %v, want version 0", state, err)
		}
	})
}
