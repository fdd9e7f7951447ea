package store

import (
	"testing"
	"time"
)

// TestSQLiteClock_ReplacesDatabaseClock checks that statements, defaults and triggers use the clock, to the millisecond.
func TestSQLiteClock_ReplacesDatabaseClock(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_900_000_000_001).UTC()
	s := openUnmigrated(t, Config{URL: sqliteURL(t), Clock: func() time.Time { return now }})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}

	registered := registration("mc")
	if _, err := s.Register(t.Context(), registered, "client"); err != nil {
		t.Fatalf("Register() = %v", err)
	}

	began := now
	for range 1000 {
		now = now.Add(time.Millisecond)
		result, err := s.Heartbeat(t.Context(), heartbeatOf("mc"))
		if err != nil || !result.At.Equal(now) {
			t.Fatalf("Heartbeat() at %v = %v, %v", now, result.At, err)
		}
	}

	c, err := s.Controller(t.Context(), "mc")
	if err != nil {
		t.Fatalf("Controller() = %v", err)
	}
	if !c.CreatedAt.Equal(began) || !c.LastHeartbeatAt.Equal(now) || !c.UpdatedAt.Equal(now) {
		t.Errorf("created, last heartbeat and updated at %v, %v and %v, want %v, %v and %v",
			c.CreatedAt, c.LastHeartbeatAt, c.UpdatedAt, began, now, now)
	}
}

func TestNew_RejectsClockForPostgres(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{URL: "postgres://localhost/gc", Clock: time.Now}); err == nil {
		t.Error("New() with a clock for PostgreSQL = nil, want an error")
	}
}
