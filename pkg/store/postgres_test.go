package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

func (s *Store) insertControllers(t *testing.T, controllers int) {
	t.Helper()
	s.exec(t, `INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint,
		max_meetings, max_participants, health_status, reported_status)
		SELECT 'mc-' || n, 'eu', 'http://mc', 'http://mc', 10, 100, 'healthy', 'healthy' FROM generate_series(1, ?::int) AS n`, controllers)
}

func TestPostgres_Settings(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	for _, tc := range []struct {
		url  string
		want map[string]string
	}{
		{url, map[string]string{
			"statement_timeout":                   "5s",
			"lock_timeout":                        "4s",
			"idle_in_transaction_session_timeout": "10s",
			"TimeZone":                            "UTC",
		}},
		{url + "&statement_timeout=7000&timezone=Europe/Berlin", map[string]string{
			"statement_timeout": "7s",
			"TimeZone":          "Europe/Berlin",
		}},
	} {
		s := openUnmigrated(t, Config{URL: tc.url})

		for setting, want := range tc.want {
			var got string
			if err := s.readDB.GetContext(t.Context(), &got, "SHOW "+setting); err != nil || got != want {
				t.Errorf("%s = %q, %v, want %q", setting, got, err, want)
			}
		}
	}
}

// TestPostgres_BinaryParameters sends values of all types in the mode that saves a round trip.
func TestPostgres_BinaryParameters(t *testing.T) {
	t.Parallel()
	s := openUnmigrated(t, Config{URL: testpg.URL(t)})
	at := time.Date(2026, 2, 3, 4, 5, 6, 789012000, time.UTC)
	var got struct {
		Texts   pq.StringArray `db:"texts"`
		Numbers pq.Int64Array  `db:"numbers"`
		At      dbTime         `db:"at"`
		Nothing *float64       `db:"nothing"`
		Share   float64        `db:"share"`
	}

	err := s.writeDB.GetContext(t.Context(), &got, `SELECT $1::text[] AS texts, $2::bigint[] AS numbers, $3::timestamptz AS at,
		$4::double precision AS nothing, $5::double precision AS share`,
		[]string{"a,b", `c"d`}, []int64{1, -2}, at, nil, 0.1)
	if err != nil {
		t.Fatalf("select: %v", err)
	}
	if fmt.Sprint(got.Texts, got.Numbers) != `[a,b c"d] [1 -2]` || !got.At.Equal(at) || got.Nothing != nil || got.Share != 0.1 {
		t.Errorf("got %+v, want the values that were sent", got)
	}
}

func TestPostgres_IndexesOmitHeartbeatColumns(t *testing.T) {
	t.Parallel()
	s := openMigrated(t, testpg.URL(t))
	var columns []string
	// The columns of the key and those of the predicate.
	if err := s.readDB.SelectContext(t.Context(), &columns, `SELECT a.attname FROM pg_index AS i
		JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass
		AND d.objid = i.indexrelid
		AND d.refobjid = i.indrelid AND d.refobjsubid > 0 JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
		WHERE i.indrelid = 'meeting_controllers'::regclass
		UNION ALL SELECT a.attname FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
		WHERE i.indrelid = 'meeting_controllers'::regclass`); err != nil {
		t.Fatalf("read indexes: %v", err)
	}
	wantNoHeartbeatColumns(t, columns)
}

// TestHeartbeat_PostgresUpdatesAreHeapOnly checks that heartbeats do not bloat the indexes. It has a server of its own:
// an open transaction of another test, in any database, would prevent the pruning of dead row versions. Pages full of them
// would make updates that are not heap-only.
func TestHeartbeat_PostgresUpdatesAreHeapOnly(t *testing.T) {
	t.Parallel()
	const controllers, beats = 200, 50
	url := testpg.NewCluster(t).URL()
	s := openMigrated(t, url)
	s.insertControllers(t, controllers)
	var all sync.WaitGroup

	for worker := range 8 {
		all.Go(func() {
			for i := range beats {
				for n := worker; n < controllers; n += 8 {
					h := service.HeartbeatWrite{ControllerID: fmt.Sprint("mc-", n+1), CurrentMeetings: int64(i), Reported: service.HealthHealthy}
					if _, err := s.Heartbeat(t.Context(), h); err != nil {
						t.Errorf("Heartbeat() = %v", err)
						return
					}
				}
			}
		})
	}
	all.Wait()

	// A connection that ends reports its statistics at once, an idle one later.
	if err := s.Close(); err != nil {
		t.Fatalf("Close() = %v", err)
	}

	s = openUnmigrated(t, Config{URL: url})
	var stats struct {
		Updates int `db:"n_tup_upd"`
		HOT     int `db:"n_tup_hot_upd"`
	}

	for deadline := time.Now().Add(30 * time.Second); stats.Updates < controllers*beats; time.Sleep(50 * time.Millisecond) {
		if err := s.readDB.GetContext(t.Context(), &stats, `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
			WHERE relname = 'meeting_controllers'`); err != nil {
			t.Fatalf("read statistics: %v", err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("updates = %d, want %d", stats.Updates, controllers*beats)
		}
	}

	t.Logf("%d of %d heartbeats were heap-only", stats.HOT, stats.Updates)
	if stats.HOT*100 < stats.Updates*95 {
		t.Errorf("heap-only = %d of %d, want at least 95 %%", stats.HOT, stats.Updates)
	}
}

func TestHeartbeat_PostgresPlanUsesPrimaryKey(t *testing.T) {
	t.Parallel()
	s := openMigrated(t, testpg.URL(t))
	s.insertControllers(t, 5000)
	s.exec(t, `ANALYZE meeting_controllers`)

	for name, tc := range map[string]struct {
		db        *sqlx.DB
		statement string
		values    []any
	}{
		"heartbeat": {s.heartbeat.db, heartbeatSQL(true), newHeartbeatColumns([]service.HeartbeatWrite{heartbeatOf("mc-7")}).values()},
		"register":  {s.writeDB, registerSQL, []any{"mc-7", "eu", "http://mc", nil, 1, 1, "", "", "one", "", 10000, 30000}},
	} {
		var plan []string
		if err := tc.db.SelectContext(t.Context(), &plan, "EXPLAIN "+tc.statement, tc.values...); err != nil {
			t.Fatalf("explain %s: %v", name, err)
		}

		text := strings.Join(plan, "\n")
		if !strings.Contains(text, "meeting_controllers_pkey") || strings.Contains(text, "Seq Scan on meeting_controllers") {
			t.Errorf("plan of %s:\n%s\nwant the primary key and no sequential scan", name, text)
		}
	}
}

func TestPostgres_LockedTableIsUnavailable(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	locker := openMigrated(t, url)
	s := openUnmigrated(t, Config{URL: url, Timeout: time.Second})
	tx, err := locker.writeDB.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `LOCK TABLE meeting_controllers IN SHARE MODE`); err != nil {
		t.Fatalf("lock: %v", err)
	}

	_, beat := s.Beat(t.Context(), service.Beat{Tolerance: time.Second})
	_, heartbeat := s.Heartbeat(t.Context(), heartbeatOf("mc"))
	for name, err := range map[string]error{"Beat": beat, "Heartbeat": heartbeat} {
		if !errors.Is(err, service.ErrUnavailable) {
			t.Errorf("%s(table locked) = %v, want ErrUnavailable", name, err)
		}
	}
}

func TestPostgres_ExhaustedPoolIsUnavailable(t *testing.T) {
	t.Parallel()
	s := openUnmigrated(t, Config{URL: testpg.URL(t), MaxConns: 1, Timeout: 300 * time.Millisecond})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}

	tx, err := s.writeDB.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := s.IsRegistered(t.Context(), "mc"); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("IsRegistered(no connection left) = %v, want ErrUnavailable", err)
	}

	// The checker and heartbeats have reserved connections.
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v, want nil", err)
	}
	if _, err := s.Beat(t.Context(), service.Beat{Tolerance: time.Second}); err != nil {
		t.Errorf("Beat() = %v, want nil", err)
	}
	if _, err := s.Sweep(t.Context(), service.SweepPolicy{Threshold: time.Minute, Interval: time.Second, Tolerance: time.Second}); err != nil {
		t.Errorf("Sweep() = %v, want nil", err)
	}
	if _, err := s.Heartbeat(t.Context(), heartbeatOf("mc")); !errors.Is(err, service.ErrNotRegistered) {
		t.Errorf("Heartbeat(unknown) = %v, want ErrNotRegistered", err)
	}
}

// TestSweep_MarksRegionInChunks marks more controllers than fit into a chunk.
func TestSweep_MarksRegionInChunks(t *testing.T) {
	t.Parallel()
	s := openMigrated(t, testpg.URL(t))
	const silent = 2*firstChunk + 100
	s.insertControllers(t, silent)
	s.exec(t, `UPDATE meeting_controllers SET last_heartbeat_at = clock_timestamp() - interval '1 hour' WHERE controller_id <> ?`, "mc-7")
	s.exec(t, `INSERT INTO checker_state (id, beat_at, serviceable_since, swept_at)
		VALUES (1, clock_timestamp(), clock_timestamp() - ?::interval, clock_timestamp() - interval '1 hour')`, "1 hour")
	policy := service.SweepPolicy{Threshold: 30 * time.Second, Interval: 5 * time.Second, Tolerance: time.Minute}
	marked := 0

	for more := true; more; {
		got, err := s.Sweep(t.Context(), policy)
		if err != nil || len(got.Transitions) > maxChunk || !got.Swept {
			t.Fatalf("Sweep() marked %d, %v; want at most a chunk", len(got.Transitions), err)
		}
		marked, more = marked+len(got.Transitions), got.More
	}

	if marked != silent-1 {
		t.Errorf("marked = %d, want %d", marked, silent-1)
	}

	var stale int
	err := s.readDB.GetContext(t.Context(), &stale, `SELECT count(*) FROM meeting_controllers WHERE stale AND health_status = 'unhealthy'`)
	if err != nil || stale != silent-1 {
		t.Errorf("stale = %d, %v, want %d", stale, err, silent-1)
	}
}

// TestSweepState_TimeToSweepAfterHold checks that a controller that stopped during an outage becomes unhealthy one
// threshold after the outage, not up to an interval later.
func TestSweepState_TimeToSweepAfterHold(t *testing.T) {
	t.Parallel()
	policy := service.SweepPolicy{Threshold: 6 * time.Second, Interval: 5 * time.Second}
	began := time.Unix(1_800_000_000, 0)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }

	for _, tc := range []struct {
		swept, now, want float64
	}{
		{0, 0, 4.75},       // The hold begins.
		{4.75, 4.75, 1.25}, // It ends before the next sweep would be due.
		{4.75, 6, 0},
		{6, 6, 4.75}, // After the hold only the interval counts.
		{6, 10.75, 0},
	} {
		state := sweepState{
			checkerState: checkerState{ServiceableSince: dbTime{began}},
			sweptAt:      at(tc.swept),
			now:          at(tc.now),
			threshold:    policy.Threshold,
		}
		if got := state.timeToSweep(policy.Interval); got != time.Duration(tc.want*float64(time.Second)) {
			t.Errorf("swept at %v, now %v: due in %v, want %v s", tc.swept, tc.now, got, tc.want)
		}
	}
}

func TestPreparedStatement_OutdatedPlanIsReplaced(t *testing.T) {
	t.Parallel()
	s := openMigrated(t, testpg.URL(t))
	s.insertControllers(t, 1)

	for _, change := range []string{"", `ALTER TABLE meeting_controllers ALTER region TYPE text`, `DISCARD ALL`} {
		if change != "" {
			if _, err := s.heartbeat.db.ExecContext(t.Context(), change); err != nil {
				t.Fatalf("%s: %v", change, err)
			}
		}

		if _, err := s.Heartbeat(t.Context(), heartbeatOf("mc-1")); err != nil {
			t.Errorf("Heartbeat(after %q) = %v", change, err)
		}
		if s.heartbeat.skipLocked.isUnpreparable.Load() {
			t.Errorf("after %q the text is sent each time, want the statement prepared again", change)
		}
	}
}

// TestPostgres_RejectedLoginIsUnavailable connects with a role that does not exist, as a rotated password does.
func TestPostgres_RejectedLoginIsUnavailable(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testpg.URL(t))
	if err != nil {
		t.Fatalf("parse URL: %v", err)
	}
	address.User = url.User("no-such-role")
	s := openUnmigrated(t, Config{URL: address.String()})
	_, heartbeat := s.Heartbeat(t.Context(), heartbeatOf("mc"))
	_, known := s.IsRegistered(t.Context(), "mc")
	for name, err := range map[string]error{"Heartbeat": heartbeat, "IsRegistered": known} {
		if !errors.Is(err, service.ErrUnavailable) || strings.Contains(err.Error(), "no-such-role") {
			t.Errorf("%s(rejected login) = %v, want ErrUnavailable and no name", name, err)
		}
	}
}

// TestPostgres_ServerKilledAndFrozen kills and freezes the server of an open store.
func TestPostgres_ServerKilledAndFrozen(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t)
	s := openUnmigrated(t, Config{URL: cluster.URL(), Timeout: time.Second})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}

	s.insertControllers(t, 1)
	sendHeartbeat := func() error {
		_, err := s.Heartbeat(context.Background(), heartbeatOf("mc-1"))
		return err
	}

	if err := sendHeartbeat(); err != nil {
		t.Fatalf("Heartbeat() = %v", err)
	}

	cluster.Kill()
	if err := sendHeartbeat(); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Heartbeat(server killed) = %v, want ErrUnavailable", err)
	}

	cluster.Restart()
	if err := sendHeartbeat(); err != nil {
		t.Errorf("Heartbeat(server back) = %v, want nil", err)
	}

	cluster.Pause()
	began := time.Now()
	if err := sendHeartbeat(); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Heartbeat(server frozen) = %v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Heartbeat(server frozen) took %v, want about the timeout of 1s", took)
	}

	cluster.Resume()
	if err := sendHeartbeat(); err != nil {
		t.Errorf("Heartbeat(server resumed) = %v, want nil", err)
	}
}

// TestTransitions_ReaderMissesNoLateCommit commits a transition while the transaction of a lower id is open.
func TestTransitions_ReaderMissesNoLateCommit(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	s, others := openMigrated(t, url), openUnmigrated(t, Config{URL: url})
	const insert = `INSERT INTO controller_transitions
		(controller_id, region, at, to_status, cause, actor, reason, silence_ms, reported_status)
		VALUES ($1, 'eu', clock_timestamp() - $2 * interval '1 second', 'pending', 'register', '', '', 0, 'pending')`
	startInsert := func(id string, age int) *sqlx.Tx {
		tx, err := others.writeDB.BeginTxx(t.Context(), nil)
		if err == nil {
			_, err = tx.ExecContext(t.Context(), insert, id, age)
		}
		if err != nil {
			t.Fatalf("insert: %v", err)
		}

		return tx
	}

	follow := func(after int64, want ...string) int64 {
		t.Helper()
		page, err := s.Transitions(t.Context(), service.TransitionFilter{After: after, Limit: 10})
		var got []string

		for _, change := range page.Transitions {
			got, after = append(got, change.ControllerID), change.ID
		}

		if err != nil || !slices.Equal(got, want) {
			t.Errorf("changes = %v, %v, want %v", got, err, want)
		}

		return after
	}

	s.exec(t, insert, "first", 0)
	after := follow(0, "first")
	late, lost := startInsert("late", 0), startInsert("lost", 0)
	s.exec(t, insert, "early", 0)
	after = follow(after)
	if err := late.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}

	after = follow(after, "late")
	if err := lost.Rollback(); err != nil {
		t.Fatalf("roll back: %v", err)
	}

	follow(after, "early")
}
