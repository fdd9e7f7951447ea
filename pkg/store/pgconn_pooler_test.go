package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/pkg/store/storetest"
	"darktower.example/global-controller/service"
)

// poolers are configurations of PgBouncer: it rejects startup parameters, as by default, or ignores them.
var poolers = []struct{ name, mode, line string }{
	{"transaction", "transaction", ""},
	{"transaction, parameters ignored", "transaction", "ignore_startup_parameters = " +
		"statement_timeout,lock_timeout,idle_in_transaction_session_timeout,gc.connection,default_transaction_isolation," +
		"enable_hashjoin,enable_mergejoin,enable_seqscan,enable_bitmapscan,jit,plan_cache_mode,extra_float_digits"},
	{"session", "session", ""},
}

// TestPostgresPooler_Conformance runs the suite of all stores through a PgBouncer. It has fewer connections to the server
// than the store has to it.
func TestPostgresPooler_Conformance(t *testing.T) {
	t.Parallel()
	pooler := testpg.NewPooler(t, os.Getenv("TEST_DATABASE_URL"), "transaction", 3)
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		return newFixture(t, replaceHost(t, testpg.URL(t), pooler.Address()))
	})
}

// TestPostgresPooler_ManyReplicas sends heartbeats and registrations of several stores over few connections to the server.
func TestPostgresPooler_ManyReplicas(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	pooler := testpg.NewPooler(t, url, "transaction", 4)
	address := replaceHost(t, url, pooler.Address())
	openMigrated(t, address).insertControllers(t, 200)
	var group sync.WaitGroup

	for replica := range 3 {
		s := openUnmigrated(t, Config{URL: address})
		for worker := range 20 {
			group.Go(func() {
				for i := range 100 {
					id := fmt.Sprintf("mc-%d", 1+(worker*100+i)%200)
					if _, err := s.Heartbeat(context.Background(), service.HeartbeatWrite{
						ControllerID: id, CurrentMeetings: 3, Reported: service.HealthHealthy,
					}); err != nil {
						t.Errorf("Heartbeat(%s) = %v", id, err)
					}
				}
			})
		}

		group.Go(func() {
			for i := range 100 {
				id := fmt.Sprintf("new-%d-%d", replica, i)
				if _, err := s.Register(context.Background(), registration(id), "me"); err != nil {
					t.Errorf("Register(%s) = %v", id, err)
				}

				c, err := s.Controller(context.Background(), id)
				if err != nil || c.ControllerID != id {
					t.Errorf("Controller(%s) = %+v, %v", id, c, err)
				}
			}
		})
	}
	group.Wait()
}

// TestPostgresPooler_Settings checks the settings of a statement outside of a transaction and in one.
func TestPostgresPooler_Settings(t *testing.T) {
	t.Parallel()
	for _, tc := range poolers {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			url := testpg.URL(t)
			pooler := testpg.NewPooler(t, url, tc.mode, 10, tc.line)
			s := openUnmigrated(t, Config{URL: replaceHost(t, url, pooler.Address()) + "&work_mem=5MB"})

			for setting, want := range map[string]string{
				"statement_timeout":                   "5s",
				"lock_timeout":                        "4s",
				"idle_in_transaction_session_timeout": "10s",
				"transaction_isolation":               "read committed",
				"enable_seqscan":                      "off",
				"plan_cache_mode":                     "force_generic_plan",
				"TimeZone":                            "UTC",
				"work_mem":                            "5MB",
			} {
				var outside string
				if err := s.heartbeat.db.GetContext(t.Context(), &outside, "SHOW "+setting); err != nil || outside != want {
					t.Errorf("%s = %q, %v, want %q", setting, outside, err, want)
				}

				within, err := transact(t.Context(), s, s.heartbeat.db, "test", func(ctx context.Context, tx *sqlx.Tx) (got string, err error) {
					return got, tx.GetContext(ctx, &got, "SHOW "+setting)
				})

				if err != nil || within != want {
					t.Errorf("%s = %q, %v in a transaction, want %q", setting, within, err, want)
				}
			}

			// The connection to the server keeps no setting.
			var left string
			direct := sqlx.MustConnect("postgres", replaceHost(t, url, pooler.Address()))
			defer func() { _ = direct.Close() }()
			if err := direct.GetContext(t.Context(), &left, "SHOW lock_timeout"); err != nil || left != "0" {
				t.Errorf("lock_timeout = %q, %v for another client, want 0", left, err)
			}
		})
	}
}

// TestPostgresPooler_AnnouncesPolls checks that a store behind a pooler, which cannot listen, announces each poll interval.
func TestPostgresPooler_AnnouncesPolls(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	pooler := testpg.NewPooler(t, url, "transaction", 4)
	s := openMigrated(t, replaceHost(t, url, pooler.Address()))
	received := s.collectAnnouncements(t)
	began := time.Now()
	for range 3 {
		waitForAnnouncement(t, received, func(a service.Announcement) bool { return !a.Everything })
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("three polls took %v, want one every %v", took, pollInterval)
	}
}

func TestPostgresPooler_OutdatedPlanIsReplaced(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	openMigrated(t, url).insertControllers(t, 1)
	pooler := testpg.NewPooler(t, url, "transaction", 1)
	s := openUnmigrated(t, Config{URL: replaceHost(t, url, pooler.Address())})

	for _, change := range []string{"", `ALTER TABLE meeting_controllers ALTER region TYPE text`, `DEALLOCATE ALL`} {
		if change != "" {
			s.exec(t, change)
		}
		if err := s.sendHeartbeat(); err != nil {
			t.Errorf("Heartbeat(after %q) = %v", change, err)
		}
		if s.heartbeat.skipLocked.isUnpreparable.Load() {
			t.Errorf("after %q the text is sent each time, want the statement prepared again", change)
		}
	}
}

func TestInlineValues_Quoted(t *testing.T) {
	values := func(values ...any) (named []driver.NamedValue) {
		for i, v := range values {
			named = append(named, driver.NamedValue{Ordinal: i + 1, Value: v})
		}
		return named
	}

	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, tc := range []struct {
		query  string
		values []driver.NamedValue
		want   string
	}{
		{"SELECT $1, $2, $1", values("it's", int64(-3)), `SELECT  'it''s', '-3',  'it''s'`},
		{`SELECT $1`, values(`back\slash`), `SELECT   E'back\\slash'`},
		{"SELECT '$1', $1::int", values(nil), "SELECT '$1', NULL::int"},
		{"SELECT $1, $2, $3", values(0.1, true, at), "SELECT '0.1', 'true', '2026-01-02 03:04:05.000006Z'"},
		{"SELECT $11$1", values("a", "", "", "", "", "", "", "", "", "", "k"), "SELECT  'k' 'a'"},
	} {
		got, err := inlineValues("", tc.query, tc.values)
		if err != nil || got != tc.want {
			t.Errorf("inlineValues(%q) = %q, %v, want %q", tc.query, got, err, tc.want)
		}
	}

	for query, with := range map[string][]driver.NamedValue{"SELECT $2": values("a"), "SELECT $1": values([]byte("a"))} {
		if got, err := inlineValues("", query, with); err == nil {
			t.Errorf("inlineValues(%q, %v) = %q, want an error", query, with, got)
		}
	}
}
