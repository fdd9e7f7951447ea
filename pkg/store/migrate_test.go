package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/go-kit/log"

	"darktower.example/global-controller/service"
)

func TestMigrate_UpDownUp(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		var logged strings.Builder
		logger := log.NewLogfmtLogger(&logged)
		applied := func() (pending, applied int) {
			t.Helper()
			states, _, err := MigrationStatus(t.Context(), url)
			if err != nil {
				t.Fatalf("MigrationStatus() = %v", err)
			}

			for _, m := range states {
				if m.AppliedAt.IsZero() {
					pending++
				} else {
					applied++
				}
			}

			return pending, applied
		}

		if p, a := applied(); p < 1 || a != 0 {
			t.Errorf("before: pending, applied = %d, %d, want all pending", p, a)
		}

		for _, step := range []func() error{
			func() error { return Migrate(t.Context(), url, logger) },
			func() error { return MigrateDown(t.Context(), url, DownOptions{}, logger) },
			func() error { return Migrate(t.Context(), url, logger) },
			func() error { return Migrate(t.Context(), url, logger) },
		} {
			if err := step(); err != nil {
				t.Fatalf("migrate: %v", err)
			}
		}

		if p, a := applied(); p != 0 || a < 1 {
			t.Errorf("after: pending, applied = %d, %d, want all applied", p, a)
		}
		if got := strings.Count(logged.String(), "msg=migrated direction=up version=1 "); got != 2 {
			t.Errorf("logged %d times that the first migration was applied, want 2:\n%s", got, &logged)
		}

		s := openUnmigrated(t, Config{URL: url})
		// An older tool inserts only the columns of the contract.
		s.exec(t, `INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, max_meetings, max_participants, health_status)
			VALUES ('mc', 'eu', 'http://mc', 'http://mc', 1, 1, 'healthy')`)
		if _, err := s.writeDB.ExecContext(t.Context(), `UPDATE meeting_controllers SET health_status = 'well'`); err == nil {
			t.Error("an unknown state was stored")
		}
	})
}

func TestMigrate_TenReplicasTogether(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		var all sync.WaitGroup
		for i := range 10 {
			s := openUnmigrated(t, Config{URL: url})
			all.Go(func() {
				if err := s.Migrate(t.Context()); err != nil {
					t.Errorf("replica %d: Migrate() = %v", i, err)
				}
				if _, err := s.IsRegistered(t.Context(), "mc"); err != nil {
					t.Errorf("replica %d: IsRegistered() after Migrate() = %v", i, err)
				}
			})
		}
		all.Wait()
	})
}

func TestMigrate_FailureQuotesNoStatement(t *testing.T) {
	err := Migrate(t.Context(), "postgres://u:secret@127.0.0.1:1/x?sslmode=disable", log.NewNopLogger())
	if !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Migrate(no server) = %v, want ErrUnavailable", err)
	}

	for _, url := range []string{"", "sqlite:", "sqlite:/dev/null/gc.db", sqliteScheme + t.TempDir()} {
		if err := Migrate(t.Context(), url, log.NewNopLogger()); err == nil {
			t.Errorf("Migrate(%q) = nil, want an error", url)
		}
	}

	forBothDatabases(t, func(t *testing.T, url string) {
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Migrate(canceled, url, log.NewNopLogger()); !errors.Is(err, context.Canceled) {
			t.Errorf("Migrate(canceled context) = %v, want the context's error", err)
		}

		// An existing table of the same name makes the first migration fail.
		s := openUnmigrated(t, Config{URL: url})
		s.exec(t, `CREATE TABLE meeting_controllers (id int)`)
		err := Migrate(t.Context(), url, log.NewNopLogger())
		if err == nil || errors.Is(err, service.ErrUnavailable) || strings.Contains(err.Error(), "CREATE") {
			t.Errorf("Migrate(table exists) = %v, want another error than ErrUnavailable, without the statement", err)
		}
	})
}

func TestLockSchemaFile_WaitEndsWithContext(t *testing.T) {
	path := t.TempDir() + "/lock"
	unlock, err := lockSchemaFile(t.Context(), path)
	if err != nil {
		t.Fatalf("lock: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := lockSchemaFile(ctx, path)
		result <- err
	}()

	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("lockSchemaFile(held) = %v, want the context's error", err)
	}

	unlock()
	again, err := lockSchemaFile(t.Context(), path)
	if err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}

	again()
}
