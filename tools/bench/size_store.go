package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/go-kit/log"
	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/pkg/store"
)

// maxSeedRows is how many rows one statement of the seed writes, which keeps it far below any timeout.
const maxSeedRows = 500_000

// seededStore is a database into which a fleet and its history are written directly.
type seededStore struct {
	name string
	url  string
	db   *sqlx.DB
	drop func()

	// The fragments of SQL differ by dialect. nowSQL is the current time. seriesSQL is a table n of the numbers from ? to ?.
	// agoSQL is the time a number of seconds ago, with %s for the number.
	nowSQL    string
	seriesSQL string
	agoSQL    string
}

func (s *sizeBench) createStore(name string) (seededStore, error) {
	switch name {
	case "postgres":
		return s.createPostgres()
	case "sqlite":
		return s.createSQLite()
	default:
		return seededStore{}, fmt.Errorf("--stores names %q: allowed are postgres and sqlite", name)
	}
}

func (s *sizeBench) createPostgres() (seededStore, error) {
	databaseURL, drop, err := s.createDatabase()
	if err != nil {
		return seededStore{}, err
	}

	found := seededStore{
		name:      "postgres",
		url:       databaseURL,
		drop:      drop,
		nowSQL:    "clock_timestamp()",
		seriesSQL: "generate_series(?::bigint, ?::bigint) AS s (n)",
		agoSQL:    "clock_timestamp() - make_interval(secs => (%s)::double precision)",
	}

	if err := store.Migrate(s.ctx, found.url, log.NewNopLogger()); err != nil {
		found.drop()
		return seededStore{}, err
	}
	if found.db, err = sqlx.ConnectContext(s.ctx, "postgres", found.url); err != nil {
		found.drop()
		return seededStore{}, err
	}

	found.drop = func() {
		_ = found.db.Close()
		drop()
	}
	return found, nil
}

func (s *sizeBench) createSQLite() (seededStore, error) {
	dir, err := os.MkdirTemp("", "bench-size")
	if err != nil {
		return seededStore{}, err
	}

	path := filepath.Join(dir, "gc.db")
	found := seededStore{
		name:      "sqlite",
		url:       "sqlite:" + path,
		drop:      func() { _ = os.RemoveAll(dir) },
		nowSQL:    "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
		seriesSQL: "(WITH RECURSIVE s (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM s WHERE n < ?) SELECT n FROM s) AS s",
		agoSQL:    "CAST(unixepoch('subsec') * 1000 - (%s) * 1000 AS INTEGER)",
	}

	if err := store.Migrate(s.ctx, found.url, log.NewNopLogger()); err != nil {
		found.drop()
		return seededStore{}, err
	}
	query := url.Values{"_pragma": {"busy_timeout(20000)", "journal_mode(WAL)", "synchronous(NORMAL)"}}
	if found.db, err = sqlx.Open("sqlite", "file:"+path+"?"+query.Encode()); err != nil {
		found.drop()
		return seededStore{}, err
	}

	found.db.SetMaxOpenConns(1)
	found.drop = func() {
		_ = found.db.Close()
		_ = os.RemoveAll(dir)
	}
	return found, nil
}

// seed adds controllers from mc-000000 on, and transitions to the history, one a second until a minute ago.
func (st seededStore) seed(ctx context.Context, controllers, transitions int) error {
	if controllers > 0 {
		if err := st.seedControllers(ctx, controllers); err != nil {
			return fmt.Errorf("seed the fleet: %w", err)
		}
	}
	if err := st.seedTransitions(ctx, transitions); err != nil {
		return fmt.Errorf("seed the history: %w", err)
	}

	analyze := "ANALYZE"
	if st.name == "postgres" {
		analyze = "VACUUM ANALYZE meeting_controllers, controller_transitions"
	}
	_, err := st.db.ExecContext(ctx, analyze)
	return err
}

func (st seededStore) seedControllers(ctx context.Context, controllers int) error {
	query := `INSERT INTO meeting_controllers (
		controller_id, region, endpoint, grpc_endpoint, max_meetings, current_meetings, max_participants, current_participants,
		health_status, reported_status)
		SELECT 'mc-' || ` + st.padNumber("n") + `, 'region-' || (n % 10), 'http://mc.example:50052', 'http://mc.example:50052',
		100, n % 100, 5000, n % 5000, 'healthy', 'healthy'
		FROM ` + st.seriesSQL
	_, err := st.db.ExecContext(ctx, st.db.Rebind(query), 0, controllers-1)
	return err
}

func (st seededStore) seedTransitions(ctx context.Context, transitions int) error {
	at := fmt.Sprintf(st.agoSQL, fmt.Sprintf("60 + %d - n", transitions))
	query := `INSERT INTO controller_transitions (
		controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
		SELECT 'mc-' || ` + st.padNumber("n % 100000") + `, 'region-' || (n % 10), ` + at + `,
			CASE WHEN n % 2 = 0 THEN 'healthy' ELSE 'degraded' END, CASE WHEN n % 2 = 0 THEN 'degraded' ELSE 'healthy' END,
			'heartbeat', 'bench', 'reported degraded', 10000, 'degraded'
		FROM ` + st.seriesSQL

	for from := 1; from <= transitions; from += maxSeedRows {
		to := min(transitions, from+maxSeedRows-1)
		if _, err := st.db.ExecContext(ctx, st.db.Rebind(query), from, to); err != nil {
			return err
		}
	}
	return nil
}

// padNumber returns SQL for a number with six digits.
func (st seededStore) padNumber(number string) string {
	if st.name == "postgres" {
		return "lpad((" + number + ")::text, 6, '0')"
	}
	return "printf('%06d', " + number + ")"
}

// setHeartbeats makes now the time of every controller's last heartbeat.
func (st seededStore) setHeartbeats(ctx context.Context) error {
	_, err := st.db.ExecContext(ctx,
		`UPDATE meeting_controllers SET last_heartbeat_at = `+st.nowSQL+`, stale = false, health_status = 'healthy'`)
	return err
}
