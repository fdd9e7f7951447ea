package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/pkg/store"

	"github.com/go-kit/log"
)

// seedAtOnce keeps one statement of the seed well below any time-out.
const seedAtOnce = 500_000

// sizedStore is a database that a fleet and its history are written into directly.
type sizedStore struct {
	name string
	url  string
	db   *sqlx.DB
	// now, series and instant are the dialect's clock, a table n of numbers from ? to ?, and a time a number of seconds ago.
	now, series string
	ago         string
	drop        func()
}

func (s *sized) createStore(name string) (sizedStore, error) {
	switch name {
	case "postgres":
		return s.createPostgres()
	case "sqlite":
		return s.createSQLite()
	default:
		return sizedStore{}, fmt.Errorf("--stores names %q: allowed are postgres and sqlite", name)
	}
}

func (s *sized) createPostgres() (sizedStore, error) {
	databases++
	database := fmt.Sprintf("bench_%d_%d", os.Getpid(), databases)
	if _, err := s.admin.ExecContext(s.ctx, "CREATE DATABASE "+database); err != nil {
		return sizedStore{}, err
	}

	found := sizedStore{
		name: "postgres", url: strings.Replace(s.adminURL, "/postgres?", "/"+database+"?", 1), now: "clock_timestamp()",
		series: "generate_series(?::bigint, ?::bigint) AS s (n)", ago: "clock_timestamp() - make_interval(secs => (%s)::double precision)",
	}
	found.drop = func() { _, _ = s.admin.Exec("DROP DATABASE " + database + " WITH (FORCE)") }

	if err := store.Migrate(s.ctx, found.url, log.NewNopLogger()); err != nil {
		found.drop()
		return sizedStore{}, err
	}
	db, err := sqlx.ConnectContext(s.ctx, "postgres", found.url)
	if err != nil {
		found.drop()
		return sizedStore{}, err
	}
	found.db = db
	drop := found.drop
	found.drop = func() {
		_ = db.Close()
		drop()
	}
	return found, nil
}

func (s *sized) createSQLite() (sizedStore, error) {
	dir, err := os.MkdirTemp("", "bench-size")
	if err != nil {
		return sizedStore{}, err
	}
	path := filepath.Join(dir, "gc.db")
	found := sizedStore{
		name: "sqlite", url: "sqlite:" + path, now: "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
		series: "(WITH RECURSIVE s (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM s WHERE n < ?) SELECT n FROM s) AS s",
		ago:    "CAST(unixepoch('subsec') * 1000 - (%s) * 1000 AS INTEGER)", drop: func() { _ = os.RemoveAll(dir) },
	}

	if err := store.Migrate(s.ctx, found.url, log.NewNopLogger()); err != nil {
		found.drop()
		return sizedStore{}, err
	}
	query := url.Values{"_pragma": {"busy_timeout(20000)", "journal_mode(WAL)", "synchronous(NORMAL)"}}
	if found.db, err = sqlx.Open("sqlite", "file:"+path+"?"+query.Encode()); err != nil {
		found.drop()
		return sizedStore{}, err
	}
	found.db.SetMaxOpenConns(1)
	found.drop = func() {
		_ = found.db.Close()
		_ = os.RemoveAll(dir)
	}
	return found, nil
}

// seed adds controllers mc-000000 and on, and changes to the history, one a second, the last of them now.
func (st sizedStore) seed(ctx context.Context, controllers, changes int) error {
	if controllers > 0 {
		name := "'mc-' || " + st.padded("n")
		if _, err := st.db.ExecContext(ctx, st.db.Rebind(`INSERT INTO meeting_controllers (
			controller_id, region, endpoint, grpc_endpoint, max_meetings, current_meetings, max_participants, current_participants,
			health_status, reported_status)
			SELECT `+name+`, 'region-' || (n % 10), 'http://mc.example:50052', 'http://mc.example:50052',
			100, n % 100, 5000, n % 5000, 'healthy', 'healthy'
			FROM `+st.series), 0, controllers-1); err != nil {
			return fmt.Errorf("seed the fleet: %w", err)
		}
	}

	for from := 1; from <= changes; from += seedAtOnce {
		to := min(changes, from+seedAtOnce-1)
		if _, err := st.db.ExecContext(ctx, st.db.Rebind(fmt.Sprintf(`INSERT INTO controller_transitions (
			controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
			SELECT 'mc-' || %s, 'region-' || (n %% 10), %s, CASE WHEN n %% 2 = 0 THEN 'healthy' ELSE 'degraded' END,
				CASE WHEN n %% 2 = 0 THEN 'degraded' ELSE 'healthy' END, 'heartbeat', 'bench', 'reported degraded', 10000, 'degraded'
			FROM %s`, st.padded("n % 100000"), fmt.Sprintf(st.ago, fmt.Sprintf("60 + %d - n", changes)), st.series)), from, to); err != nil {
			return fmt.Errorf("seed the history: %w", err)
		}
	}

	analyze := "ANALYZE"
	if st.name == "postgres" {
		analyze = "VACUUM ANALYZE meeting_controllers, controller_transitions"
	}
	_, err := st.db.ExecContext(ctx, analyze)
	return err
}

func (st sizedStore) padded(number string) string {
	if st.name == "postgres" {
		return "lpad((" + number + ")::text, 6, '0')"
	}
	return "printf('%06d', " + number + ")"
}

// setHeartbeats has every controller beat now.
func (st sizedStore) setHeartbeats(ctx context.Context) error {
	_, err := st.db.ExecContext(ctx, `UPDATE meeting_controllers SET last_heartbeat_at = `+st.now+`, stale = false, health_status = 'healthy'`)
	return err
}
