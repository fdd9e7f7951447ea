package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"modernc.org/sqlite"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

// The size of the stores of TestQueries_AtSize; docs/performance.md has the results for 100,000 and 10,000,000.
var (
	fleetSize   = flag.Int("store.fleet", 500, "how many controllers the queries are listed with")
	historySize = flag.Int("store.history", 5000, "how many transitions the queries are listed with")
)

// queryLog records the statements of an operation.
type queryLog struct {
	mu         sync.Mutex
	statements []loggedStatement
}

type loggedStatement struct {
	text   string
	values []any
}

func (l *queryLog) add(text string, values []driver.NamedValue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := loggedStatement{text: text}
	for _, v := range values {
		s.values = append(s.values, v.Value)
	}
	l.statements = append(l.statements, s)
}

// loggingConn is a connection that records its statements.
type loggingConn struct {
	driver.Conn
	log *queryLog
}

func (c loggingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.log.add(query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c loggingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.log.add(query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c loggingConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, options)
}

func (c loggingConn) CheckNamedValue(value *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

type loggingConnector struct {
	connect func() (driver.Conn, error)
	log     *queryLog
}

func (c loggingConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.connect()
	return loggingConn{conn, c.log}, err
}

func (loggingConnector) Driver() driver.Driver { return nil }

// recordQueries makes the store use connections that record their statements, except for heartbeats.
func (s *Store) recordQueries(t *testing.T, a *queryLog) {
	t.Helper()
	connect := func() (driver.Conn, error) {
		return (&sqlite.Driver{}).Open(sqliteSource(strings.TrimPrefix(s.url, sqliteScheme), s.timeout))
	}

	if s.dialect.name == "postgres" {
		connector, err := pq.NewConnector(s.url + "&binary_parameters=yes")
		if err != nil {
			t.Fatal(err)
		}
		connect = func() (driver.Conn, error) { return connector.Connect(context.Background()) }
	}

	db := sqlx.NewDb(sql.OpenDB(loggingConnector{connect, a}), s.dialect.name)
	if s.dialect.name == "sqlite" {
		db.SetMaxOpenConns(1)
	}

	replaced := append(s.pools(), db)
	t.Cleanup(func() {
		for _, pool := range replaced {
			_ = pool.Close()
		}
	})

	s.readDB, s.writeDB, s.watchDB, s.checkerDB = db, db, db, db
}

var (
	scanned = regexp.MustCompile(`(Seq Scan on \w+|Index (?:Only )?Scan(?: Backward)? using \w+|Bitmap Index Scan on \w+|` +
		`SCAN \w+(?: USING (?:COVERING )?INDEX \w+)?|SEARCH \w+ USING [^(]*|Function Scan on pg_lock_status)`)
	shortNames = strings.NewReplacer("idx_", "", "controller_transitions", "history", "meeting_controllers", "fleet")
	spaces     = regexp.MustCompile(`\s+`)
)

// plan returns how a statement reads its tables, by its plan.
func (s *Store) plan(t *testing.T, of loggedStatement) (reads []string) {
	t.Helper()
	explain := "EXPLAIN "
	if s.dialect.name == "sqlite" {
		explain = "EXPLAIN QUERY PLAN "
	}

	rows, err := s.readDB.Queryx(explain+of.text, of.values...)
	if err != nil {
		return nil // It has no plan, such as SET, LOCK and BEGIN.
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		columns, err := rows.SliceScan()
		if err != nil {
			t.Fatalf("read a plan: %v", err)
		}

		line := fmt.Sprintf("%s", columns[len(columns)-1])
		for _, found := range scanned.FindAllString(line, -1) {
			found = strings.TrimSpace(spaces.ReplaceAllString(shortNames.Replace(found), " "))
			if !slices.Contains(reads, found) {
				reads = append(reads, found)
			}
		}
	}

	return reads
}

// TestQueries_AtSize lists every operation of the store except the heartbeat: how its statements read the tables, and its
// duration. With -v it prints the table of docs/performance.md.
func TestQueries_AtSize(t *testing.T) {
	for name, url := range map[string]func(*testing.T) string{
		"sqlite":   sqliteURL,
		"postgres": func(t *testing.T) string { return testpg.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			openMigrated(t, url(t)).listQueries(t)
		})
	}
}

func (s *Store) listQueries(t *testing.T) {
	series := fmt.Sprintf(`WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < %d) `, *fleetSize)
	slowStore := openUnmigrated(t, Config{URL: s.url, Timeout: 10 * time.Minute})
	slowStore.exec(t, series+`INSERT INTO meeting_controllers
		(controller_id, region, endpoint, grpc_endpoint, max_meetings, max_participants, health_status, reported_status)
		SELECT 'mc-' || n, 'region-' || n % 20, 'http://mc', 'http://mc', 10, 100, 'healthy', 'healthy' FROM series`)
	s.fillHistory(t, *historySize)
	slowStore.exec(t, `ANALYZE`)
	policy := service.SweepPolicy{Threshold: time.Hour, Interval: time.Millisecond, Tolerance: time.Hour, Actor: "gc"}
	now, rows := s.readClock(t), int64(*historySize)
	beat := service.Beat{Replica: service.Replica{ID: "gc", StalenessThreshold: time.Hour}, Vouches: true, Tolerance: time.Hour}
	if _, err := s.Beat(t.Context(), beat); err != nil {
		t.Fatalf("Beat() = %v", err)
	}

	s.exec(t, `UPDATE checker_state SET serviceable_since = ?`, s.timeAgo(t, 2*time.Hour))

	operations := map[string]func(ctx context.Context) error{
		"register a new controller": func(ctx context.Context) error {
			r := registration(fmt.Sprint("new-", time.Now().UnixNano()))
			r.Region = "region-3"
			return errorOf(s.Register(ctx, r, ""))
		},
		"register again": func(ctx context.Context) error {
			r := registration("mc-7")
			r.Region, r.MaxMeetings, r.MaxParticipants = "region-7", 10, 100
			return errorOf(s.Register(ctx, r, ""))
		},
		"drain, forced": func(ctx context.Context) error {
			return errorOf(s.Drain(ctx, service.DrainOrder{ControllerID: "mc-8", Force: true}, "op"))
		},
		"undrain": func(ctx context.Context) error {
			return errorOf(s.Undrain(ctx, service.UndrainOrder{ControllerID: "mc-8"}, "op"))
		},
		"known":      func(ctx context.Context) error { return errorOf(s.IsRegistered(ctx, "mc-7")) },
		"controller": func(ctx context.Context) error { return errorOf(s.Controller(ctx, "mc-7")) },
		"controllers, 1,000": func(ctx context.Context) error {
			return errorOf(s.Controllers(ctx, service.ControllerFilter{AfterID: "mc-5", Limit: 1000}))
		},
		"controllers of a region": func(ctx context.Context) error {
			return errorOf(s.Controllers(ctx, service.ControllerFilter{Region: "region-3", Limit: 1000}))
		},
		"unhealthy controllers": func(ctx context.Context) error {
			return errorOf(s.Controllers(ctx, service.ControllerFilter{Health: service.HealthUnhealthy, Limit: 1000}))
		},
		"regions":             func(ctx context.Context) error { return errorOf(s.Regions(ctx)) },
		"watch: changes":      func(ctx context.Context) error { return errorOf(s.Changes(ctx, rows-20, []int64{rows - 30}, 1000)) },
		"watch: by id, 1,000": func(ctx context.Context) error { return errorOf(s.ControllersByID(ctx, controllerIDs(1000))) },
		"watch: updated":      func(ctx context.Context) error { return errorOf(s.ControllersUpdated(ctx, now.Add(time.Hour))) },
		"retain: nothing to do": func(ctx context.Context) error {
			return errorOf(s.Prune(ctx, service.RetentionPolicy{
				History:   time.Duration(rows+3600) * time.Second,
				Stale:     24 * time.Hour,
				Threshold: time.Hour,
				Actor:     "gc",
			}))
		},
		"retain: 1,000 changes": func(ctx context.Context) error {
			return errorOf(s.Prune(ctx, service.RetentionPolicy{History: time.Duration(rows*9/10) * time.Second}))
		},
		"beat":              func(ctx context.Context) error { return errorOf(s.Beat(ctx, beat)) },
		"sweep: marks none": func(ctx context.Context) error { return errorOf(s.Sweep(ctx, policy)) },
		"replicas":          func(ctx context.Context) error { return errorOf(s.Replicas(ctx)) },
		"conflicts": func(ctx context.Context) error {
			s.RecordConflict("mc-9")
			return s.WriteConflicts(ctx)
		},
		"ready": s.Ping,
	}

	for what, filter := range historyReads(rows, now) {
		filter.Limit = 100
		operations["history: "+what] = func(ctx context.Context) error { return errorOf(s.Transitions(ctx, filter)) }
	}

	names := make([]string, 0, len(operations))
	for name := range operations {
		names = append(names, name)
	}

	slices.SortFunc(names, cmp.Compare[string])
	// Announcements are not sent: their statements belong to no operation.
	s.announcer.mu.Lock()
	s.announcer.send = nil
	s.announcer.mu.Unlock()

	took := map[string]time.Duration{}
	for _, name := range names {
		var all []time.Duration
		for range 7 {
			began := time.Now()
			if err := operations[name](t.Context()); err != nil {
				t.Errorf("%s = %v", name, err)
			}
			all = append(all, time.Since(began))
		}

		slices.Sort(all)
		took[name] = all[len(all)/2]
	}

	a := &queryLog{}
	s.recordQueries(t, a)
	for _, name := range names {
		a.statements = nil
		if err := operations[name](t.Context()); err != nil {
			t.Errorf("%s = %v", name, err)
		}

		var reads []string
		for _, one := range slices.Clone(a.statements) {
			for _, read := range s.plan(t, one) {
				if !slices.Contains(reads, read) {
					reads = append(reads, read)
				}
			}
		}

		t.Logf("| %s | %.1f | %s |", name, float64(took[name].Microseconds())/1000, strings.Join(reads, "; "))
	}
}

func errorOf[T any](_ T, err error) error { return err }

func controllerIDs(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint("mc-", i+1))
	}
	return ids
}
