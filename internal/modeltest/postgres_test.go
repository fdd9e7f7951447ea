package modeltest

import (
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/go-kit/log"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/pkg/store"
)

// A server over a network of sorts takes ten times as long as a file, so there are fewer.
var (
	serverSeeds = flag.Uint64("modeltest.server-seeds", 2, "how many seeds over PostgreSQL")
	serverSteps = flag.Int("modeltest.server-steps", 700, "how many steps of each seed over PostgreSQL")
)

// virtualClock is a function in a schema that comes before PostgreSQL's own, where every statement, default and trigger
// of ours finds it when it asks for the time.
const virtualClock = `CREATE SCHEMA simulated;
CREATE TABLE simulated.clock (at timestamptz NOT NULL);
INSERT INTO simulated.clock VALUES ('epoch');
CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM simulated.clock'`

// overPostgreSQL is a world over a database of its own: the same rules, written in other SQL.
func overPostgreSQL(t *testing.T, seed uint64) Config {
	t.Helper()
	address, err := url.Parse(testpg.URL(t))
	if err != nil {
		t.Fatalf("the address of the database: %v", err)
	}
	query := address.Query()
	query.Set("search_path", "public,simulated,pg_catalog")
	query.Set("synchronous_commit", "off")
	address.RawQuery = query.Encode()
	db, err := sql.Open("postgres", address.String())
	if err != nil {
		t.Fatalf("open PostgreSQL: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(2)
	if _, err := db.ExecContext(t.Context(), virtualClock); err != nil {
		t.Fatalf("make a clock: %v", err)
	}
	if err := store.Migrate(t.Context(), address.String(), log.NewNopLogger()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}
	set, err := db.PrepareContext(t.Context(), "UPDATE simulated.clock SET at = $1")
	if err != nil {
		t.Fatalf("set the clock: %v", err)
	}
	t.Cleanup(func() { _ = set.Close() })
	return Config{
		Seed: seed, Steps: *serverSteps,
		Open: func(_ func() time.Time, s settings) (Store, error) {
			return store.New(store.Config{URL: address.String(), Timeout: patience, MaxConns: 8, FastInterval: s.Fast, StalenessThreshold: s.Threshold})
		},
		SetClock: func(now time.Time) error {
			_, err := set.ExecContext(t.Context(), now)
			return err
		},
		Hold: func() (<-chan struct{}, func() error, error) { return hold(t, db) },
	}
}

// held tells whether somebody waits for the clock.
const held = `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'simulated.clock'::regclass
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`

// hold locks the clock, so that who asks for the time waits.
func hold(t *testing.T, db *sql.DB) (<-chan struct{}, func() error, error) {
	lock, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		return nil, nil, err
	}
	if _, err := lock.ExecContext(t.Context(), "LOCK TABLE simulated.clock IN ACCESS EXCLUSIVE MODE"); err != nil {
		return nil, nil, errors.Join(err, lock.Rollback())
	}
	reached := make(chan struct{})
	go func() {
		defer close(reached)
		for waiting := false; !waiting; time.Sleep(time.Millisecond) {
			if err := db.QueryRowContext(t.Context(), held).Scan(&waiting); err != nil {
				return
			}
		}
	}()
	return reached, lock.Rollback, nil
}

func TestModel_Postgres(t *testing.T) {
	t.Parallel()
	for seed := *firstSeed; seed < *firstSeed+*serverSeeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if _, err := Run(overPostgreSQL(t, seed)); err != nil {
				t.Fatalf("%v\nreplay: internal/testpg/with-postgres.sh go test ./internal/modeltest -run 'TestModel_Postgres$' -modeltest.seed=%d -modeltest.server-seeds=1 -modeltest.server-steps=%d",
					err, seed, *serverSteps)
			}
		})
	}
}
