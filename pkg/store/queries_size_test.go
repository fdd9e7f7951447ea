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

// How large the stores are whose queries TestQueries_AtSize lists; docs/performance.md has 100,000 and 10,000,000.
var (
	fleetSize   = flag.Int("store.fleet", 500, "how many controllers the queries are listed with")
	historySize = flag.Int("store.history", 5000, "how many changes the queries are listed with")
)

// asked collects the statements of an operation.
type asked struct {
	mu         sync.Mutex
	statements []askedStatement
}

type askedStatement struct {
	text   string
	values []any
}

func (a *asked) add(text string, values []driver.NamedValue) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := askedStatement{text: text}
	for _, v := range values {
		s.values = append(s.values, v.Value)
	}
	a.statements = append(a.statements, s)
}

// listening is a connection that tells what it is asked.
type listening struct {
	driver.Conn
	asked *asked
}

func (c listening) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.asked.add(query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c listening) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.asked.add(query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c listening) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, options)
}

func (c listening) CheckNamedValue(value *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

type listeningConnector struct {
	connect func() (driver.Conn, error)
	asked   *asked
}

func (c listeningConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.connect()
	return listening{conn, c.asked}, err
}

func (listeningConnector) Driver() driver.Driver { return nil }

// recordQueries has the store's statements, but those of heartbeats, go over connections that tell what they are asked.
func (s *Store) recordQueries(t *testing.T, a *asked) {
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

	db := sqlx.NewDb(sql.OpenDB(listeningConnector{connect, a}), s.dialect.name)
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
	scanned = regexp.MustCompile(`(Seq Scan on \w+|Index (?:Only )?Scan(?: Backward)? using \w+|Bitmap Index Scan on \w+|SCAN \w+(?: USING (?:COVERING )?INDEX \w+)?|SEARCH \w+ USING [^(]*|Function Scan on pg_lock_status)`)
	spaces  = regexp.MustCompile(`\s+`)
)

// plan returns how a statement reads its tables.
func (s *Store) plan(t *testing.T, of askedStatement) (reads []string) {
	t.Helper()
	explain := "EXPLAIN "
	if s.dialect.name == "sqlite" {
		explain = "EXPLAIN QUERY PLAN "
	}

	rows, err := s.readDB.Queryx(explain+of.text, of.values...)
	if err != nil {
		return nil // Such as SET, LOCK and BEGIN.
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		columns, err := rows.SliceScan()
		if err != nil {
			t.Fatalf("read a plan: %v", err)
		}

		line := fmt.Sprintf("%s", columns[len(columns)-1])
		for _, found := range scanned.FindAllString(line, -1) {
			found = strings.TrimSpace(spaces.ReplaceAllString(strings.NewReplacer("idx_", "", "controller_transitions", "history", "meeting_controllers", "fleet").Replace(found), " "))
			if !slices.Contains(reads, found) {
				reads = append(reads, found)
			}
		}
	}

	return reads
}

// TestQueries_AtSize lists every operation of the store but the heartbeat, with how its statements read the tables and
// how long it takes. With -v it prints the table of docs/performance.md.
func TestQueries_AtSize(t *testing.T) {
	for name, url := range map[string]func(*testing.T) string{"sqlite": sqliteURL, "postgres": func(t *testing.T) string { return testpg.URL(t) }} {
		t.Run(name, func(t *testing.T) {
			openMigrated(t, url(t)).listQueries(t)
		})
	}
}

func (s *Store) listQueries(t *testing.T) {
	series := fmt.Sprintf(`WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < %d) `, *fleetSize)
	patient := openUnmigrated(t, Config{URL: s.url, Timeout: 10 * time.Minute})
	patient.exec(t, series+`INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, max_meetings, max_participants, health_status, reported_status)
		SELECT 'mc-' || n, 'region-' || n % 20, 'http://mc', 'http://mc', 10, 100, 'healthy', 'healthy' FROM series`)
	s.fillHistory(t, *historySize)
	patient.exec(t, `ANALYZE`)
	policy := service.SweepPolicy{Threshold: time.Hour, Interval: time.Millisecond, Tolerance: time.Hour, Actor: "gc"}
	now, rows := s.readClock(t), int64(*historySize)
	beat := service.Beat{Replica: service.Replica{ID: "gc", StalenessThreshold: time.Hour}, Vouches: true, Tolerance: time.Hour}
	if _, err := s.Beat(t.Context(), beat); err != nil {
		t.Fatalf("Beat() = %v", err)
	}

	s.exec(t, `UPDATE checker_state SET serviceable_since = ?`, s.timeAgo(t, 2*time.Hour))

	operations := map[string]func(ctx context.Context) error{
		"register a new controller": func(ctx context.Context) error {
			return errorOf(s.Register(ctx, service.Registration{ControllerID: fmt.Sprint("new-", time.Now().UnixNano()), Region: "region-3", GRPCEndpoint: "http://mc", MaxMeetings: 1, MaxParticipants: 1}, ""))
		},
		"register again": func(ctx context.Context) error {
			return errorOf(s.Register(ctx, service.Registration{ControllerID: "mc-7", Region: "region-7", GRPCEndpoint: "http://mc", MaxMeetings: 10, MaxParticipants: 100}, ""))
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
			return errorOf(s.Prune(ctx, service.RetentionPolicy{History: time.Duration(rows+3600) * time.Second, Stale: 24 * time.Hour, Threshold: time.Hour, Actor: "gc"}))
		},
		"retain: 1,000 changes": func(ctx context.Context) error {
			return errorOf(s.Prune(ctx, service.RetentionPolicy{History: time.Duration(rows*9/10) * time.Second}))
		},
		"beat":              func(ctx context.Context) error { return errorOf(s.Beat(ctx, beat)) },
		"sweep: marks none": func(ctx context.Context) error { return errorOf(s.Sweep(ctx, policy)) },
		"replicas":          func(ctx context.Context) error { return errorOf(s.ListReplicas(ctx)) },
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
	// Announcements are sent by a goroutine of their own, whose statements belong to no operation.
	s.announcements.mu.Lock()
	s.announcements.send = nil
	s.announcements.mu.Unlock()

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

	a := &asked{}
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
