package store

import (
	"testing"
	"time"

	"darktower.example/global-controller/internal/testpg"
)

// TestGeneration_RegistrationDuringDeletion registers a controller while a transaction deletes it. The snapshot of the
// registration is older than the deletion; the generation must not be.
func TestGeneration_RegistrationDuringDeletion(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	s, others := openMigrated(t, url), openUnmigrated(t, Config{URL: url})
	register := func() error {
		_, err := s.Register(t.Context(), registration("mc"), "")
		return err
	}

	if err := register(); err != nil {
		t.Fatalf("Register() = %v", err)
	}

	s.exec(t, `UPDATE meeting_controllers SET generation = 6`)

	deletion, err := others.writeDB.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	if _, err := deletion.ExecContext(t.Context(), `DELETE FROM meeting_controllers`); err != nil {
		t.Fatalf("delete: %v", err)
	}

	registered := make(chan error, 1)
	go func() { registered <- register() }()
	for waiting, deadline := false, time.Now().Add(4*time.Second); !waiting && time.Now().Before(deadline); {
		if err := others.readDB.GetContext(t.Context(), &waiting, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = current_database())`); err != nil {
			t.Fatalf("read waiting sessions: %v", err)
		}
	}

	if err := deletion.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}
	if err := <-registered; err != nil {
		t.Fatalf("Register(while it is deleted) = %v", err)
	}

	c, err := s.Controller(t.Context(), "mc")
	if err != nil || c.Generation != 7 {
		t.Errorf("generation = %d, %v, want 7: the controller had 6 before", c.Generation, err)
	}
}

// TestGeneration_TruncateByHand empties the table as an operator may do.
func TestGeneration_TruncateByHand(t *testing.T) {
	t.Parallel()
	s := openMigrated(t, testpg.URL(t))
	s.insertControllers(t, 3)
	s.exec(t, `UPDATE meeting_controllers SET generation = 4`)
	s.exec(t, `TRUNCATE meeting_controllers`)
	s.insertControllers(t, 1)
	c, err := s.Controller(t.Context(), "mc-1")
	if err != nil || c.Generation != 5 {
		t.Errorf("generation = %d, %v, want 5", c.Generation, err)
	}
}
