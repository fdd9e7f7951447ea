package store

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/pkg/store/storetest"
	"darktower.example/global-controller/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// forBothDatabases runs a test over both databases, which have the same guarantees.
func forBothDatabases(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, sqliteURL(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, testpg.URL(t))
	})
}

func sqliteURL(t *testing.T) string {
	t.Helper()
	return sqliteScheme + filepath.Join(t.TempDir(), "data", "gc ?%23.db")
}

// openUnmigrated opens a store without a schema.
func openUnmigrated(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if cfg.MaxConns == 0 {
		s.limitConnections(DefaultConnections) // As for the only replica.
	}
	return s
}

func openMigrated(t *testing.T, url string) *Store {
	t.Helper()
	s := openUnmigrated(t, Config{URL: url})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}
	return s
}

func (s *Store) exec(t *testing.T, statement string, values ...any) {
	t.Helper()
	if _, err := s.writeDB.ExecContext(t.Context(), s.writeDB.Rebind(statement), values...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// readClock reads the database's clock.
func (s *Store) readClock(t *testing.T) time.Time {
	t.Helper()
	var now dbTime
	if err := s.writeDB.GetContext(t.Context(), &now, "SELECT "+s.dialect.nowSQL); err != nil {
		t.Fatalf("read the clock: %v", err)
	}
	return now.Time
}

func (s *Store) timeAgo(t *testing.T, by time.Duration) any {
	t.Helper()
	return s.dialect.bind(s.readClock(t).Add(-by))
}

func (s *Store) readHistory(t *testing.T) (history []service.Transition) {
	t.Helper()
	var stored []struct {
		change
		Cause    string `db:"cause"`
		Actor    string `db:"actor"`
		Reason   string `db:"reason"`
		Silence  int64  `db:"silence_ms"`
		Reported string `db:"reported_status"`
	}

	if err := s.readDB.SelectContext(t.Context(), &stored, `SELECT controller_id, region, at, from_status,
		to_status, cause, actor, reason, silence_ms, reported_status
		FROM controller_transitions ORDER BY id`); err != nil {
		t.Fatalf("read history: %v", err)
	}

	for _, r := range stored {
		history = append(history, service.Transition{
			ControllerID: r.ControllerID,
			Region:       r.Region,
			At:           r.At.Time,
			From:         service.HealthStatus(r.From.String),
			To:           service.HealthStatus(r.To),
			Cause:        service.Cause(r.Cause),
			Actor:        r.Actor,
			Reason:       r.Reason,
			Silence:      milliseconds(r.Silence),
			Reported:     service.HealthStatus(r.Reported),
		})
	}

	return history
}

func TestStore_Conformance(t *testing.T) {
	for name, url := range map[string]func(*testing.T) string{
		"sqlite":   sqliteURL,
		"postgres": func(t *testing.T) string { return testpg.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Fixture { return newFixture(t, url(t)) })
		})
	}
}

func newFixture(t *testing.T, url string) storetest.Fixture {
	t.Helper()
	s := openMigrated(t, url)

	return storetest.Fixture{
		Store:       s,
		OpenReplica: func(t *testing.T) storetest.Store { return openUnmigrated(t, Config{URL: url}) },
		Close: func(t *testing.T) {
			if err := s.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
		},

		SetLastHeartbeatAge: func(t *testing.T, id string, by time.Duration) {
			s.exec(t, `UPDATE meeting_controllers SET last_heartbeat_at = ? WHERE controller_id = ? OR ? = ''`, s.timeAgo(t, by), id, id)
		},

		SetCheckerAges: func(t *testing.T, beat, serviceable, swept time.Duration) {
			s.exec(t, `INSERT INTO checker_state (id, beat_at, serviceable_since, swept_at) VALUES (1, ?, ?, ?)
				ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, serviceable_since = excluded.serviceable_since`,
				s.timeAgo(t, beat), s.timeAgo(t, serviceable), s.timeAgo(t, swept))
			s.exec(t, `UPDATE checker_sweeps SET swept_at = ?`, s.timeAgo(t, swept))
		},

		SetServiceableFor: func(t *testing.T, by time.Duration) {
			s.exec(t, `UPDATE checker_state SET beat_at = ?, serviceable_since = ?`, s.timeAgo(t, 0), s.timeAgo(t, by))
			s.exec(t, `UPDATE checker_sweeps SET swept_at = ?`, s.timeAgo(t, time.Hour))
		},

		OpenReplicaWith: func(t *testing.T, fast, threshold time.Duration) storetest.Store {
			return openUnmigrated(t, Config{URL: url, FastInterval: fast, StalenessThreshold: threshold})
		},

		SetReplicaSeenAge: func(t *testing.T, id string, by time.Duration) {
			s.exec(t, `UPDATE replicas SET seen_at = ? WHERE replica_id = ?`, s.timeAgo(t, by), id)
		},

		SetFailedHeartbeatAge: func(t *testing.T, id string, by time.Duration) {
			s.exec(t, `UPDATE heartbeat_failures SET failed_at = ? WHERE controller_id = ?`, s.timeAgo(t, by), id)
		},

		SetDraining: func(t *testing.T, id string) {
			s.exec(t, `UPDATE meeting_controllers SET operator_draining = true, health_status = 'draining' WHERE controller_id = ?`, id)
		},

		DeleteRow: func(t *testing.T, id string) {
			s.exec(t, `DELETE FROM meeting_controllers WHERE controller_id = ?`, id)
		},

		SetTransitionsAge: func(t *testing.T, through int64, by time.Duration) {
			s.exec(t, `UPDATE controller_transitions SET at = ? WHERE id <= ?`, s.timeAgo(t, by), through)
		},

		RewindHistory: func(t *testing.T, from int64) {
			s.exec(t, `DELETE FROM controller_transitions WHERE id >= ?`, from)
			if s.dialect.name == "sqlite" {
				s.exec(t, `UPDATE sqlite_sequence SET seq = ? WHERE name = 'controller_transitions'`, from-1)
			} else {
				s.exec(t, `SELECT setval(pg_get_serial_sequence('controller_transitions', 'id'), ?, false)`, from)
			}
		},

		DeleteTransition: func(t *testing.T, id int64) {
			s.exec(t, `DELETE FROM controller_transitions WHERE id = ?`, id)
		},

		History: s.readHistory,
	}
}

func TestHealthSQL_AgreesWithGo(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		s := openUnmigrated(t, Config{URL: url})
		for _, draining := range []bool{false, true} {
			for _, reported := range service.HealthStatuses() {
				for _, stale := range []bool{false, true} {
					facts := service.Facts{OperatorDraining: draining, Reported: reported, Stale: stale}

					var got string
					err := s.readDB.GetContext(t.Context(), &got, s.readDB.Rebind(`SELECT `+healthSQL+`
						FROM (SELECT CAST(? AS boolean) AS operator_draining,
						CAST(? AS varchar(20)) AS reported_status, CAST(? AS boolean) AS stale) AS f`), draining, string(reported), stale)
					if err != nil || got != string(facts.Health()) {
						t.Errorf("%+v in SQL = %q, %v, want %q", facts, got, err, facts.Health())
					}
				}
			}
		}
	})
}

// queryStatuses records the calls of OnQuery.
type queryStatuses struct {
	mu   sync.Mutex
	seen map[string]string
}

func (q *queryStatuses) add(operation, status string, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if took < 0 {
		status = "negative"
	}
	if operation != "announce" { // It follows some time after a change.
		q.seen[operation] = status
	}
}

func TestStore_ReportsEveryOperation(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		q := &queryStatuses{seen: map[string]string{}}
		s := openUnmigrated(t, Config{URL: url, OnQuery: q.add})
		run := func() {
			_, _ = s.Register(t.Context(), registration("mc"), "")
			_, _ = s.Heartbeat(t.Context(), heartbeatOf("x"))
			_, _ = s.IsRegistered(t.Context(), "mc")
			_, _ = s.Controller(t.Context(), "x")
			_, _ = s.Controllers(t.Context(), service.ControllerFilter{Limit: 1})
			_, _ = s.Beat(t.Context(), service.Beat{Replica: service.Replica{ID: "gc"}})
			_, _ = s.Sweep(t.Context(), service.SweepPolicy{Threshold: time.Second, Interval: time.Second, Tolerance: time.Second})
			_, _ = s.Replicas(t.Context())
			_, _ = s.Regions(t.Context())
			_ = s.Ping(t.Context())
		}

		want := map[string]string{}
		for _, operation := range []string{
			"register", "heartbeat", "known", "controller", "controllers",
			"beat", "tick", "replicas", "regions", "ping",
		} {
			want[operation] = "error"
		}

		run()
		if diff := cmp.Diff(want, q.seen); diff != "" {
			t.Errorf("without a schema (-want +got):\n%s", diff)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatalf("Migrate() = %v", err)
		}

		for operation := range want {
			want[operation] = "ok"
		}

		run()
		q.mu.Lock()
		defer q.mu.Unlock()
		if diff := cmp.Diff(want, q.seen); diff != "" {
			t.Errorf("with a schema (-want +got):\n%s", diff)
		}
		if got := s.PoolStats().OpenConnections; got < 1 {
			t.Errorf("open connections = %d, want at least one", got)
		}
	})
}

// TestErrors_QuoteNoSQL calls operations on a database without tables.
func TestErrors_QuoteNoSQL(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		s := openUnmigrated(t, Config{URL: url})
		_, known := s.IsRegistered(t.Context(), "mc")
		_, heartbeat := s.Heartbeat(t.Context(), heartbeatOf("mc"))
		_, beat := s.Beat(t.Context(), service.Beat{})
		_, sweep := s.Sweep(t.Context(), service.SweepPolicy{})
		for i, err := range []error{known, heartbeat, beat, sweep} {
			if err == nil || errors.Is(err, service.ErrUnavailable) || errors.Is(err, service.ErrNotRegistered) {
				t.Errorf("error %d = %v, want a programming error: a missing table is not unavailability", i, err)
			} else if text := strings.ToLower(err.Error()); strings.Contains(text, "meeting_controllers") || strings.Contains(text, "select") {
				t.Errorf("error %d quotes the statement: %v", i, err)
			}
		}
	})
}

func TestOpen_InvalidAddresses(t *testing.T) {
	for _, tc := range []struct{ url, want string }{
		{"", "postgres://… or sqlite:PATH"},
		{"mysql://u:secret@h/x", "postgres://… or sqlite:PATH"},
		{"sqlite:", "needs the path"},
		{"sqlite:data/", "needs the path"},
		{"sqlite::memory:", "in memory"},
		{"sqlite://data/gc.db", "write a path after sqlite:"},
		{"postgres://u:secret@h:port/x", "invalid database URL"},
		{"postgres://u:secret@h/x?sslmode=secret", "invalid database URL"},
		{"postgres://u@h/x?sslmode=odd", "odd"},
		{"sqlite:/dev/null/gc.db", "create the folder"},
		{sqliteScheme + t.TempDir(), "it is a folder"},
	} {
		s, err := Open(tc.url)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) = %v, want an error with %q and without the password", tc.url, err, tc.want)
		}
	}

	if _, err := New(Config{URL: "postgres://h/x", Timeout: -1}); err == nil {
		t.Error("New(negative timeout) = nil, want an error")
	}
}

func TestDBTime_ScanRejectsText(t *testing.T) {
	var got dbTime
	if err := got.Scan("12:00"); err == nil {
		t.Error("Scan(text) = nil, want an error")
	}
	var _ sql.Scanner = &got
}
