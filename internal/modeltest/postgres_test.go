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

// PostgreSQL takes ten times as long as an SQLite file, so it gets fewer seeds and steps.
var (
	serverSeeds = flag.Uint64("modeltest.server-seeds", 2, "number of seeds over PostgreSQL")
	serverSteps = flag.Int("modeltest.server-steps", 700, "number of steps of each seed over PostgreSQL")
)

// virtualClock creates a clock_timestamp function in a schema that precedes PostgreSQL's own in the search path. All statements, defaults
// and triggers of the store use it.
const virtualClock = `CREATE SCHEMA simulated;
CREATE TABLE simulated.clock (at timestamptz NOT NULL);
INSERT INTO simulated.clock VALUES ('epoch');
CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM simulated.clock'`

// postgresConfig returns the configuration of a history over a new PostgreSQL database, whose rules are separate SQL.
func postgresConfig(t *testing.T, seed uint64) Config {
	t.Helper()
	address, err := url.Parse(testpg.URL(t))
	if err != nil {
		t.Fatalf("parse the database URL: %v", err)
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
		t.Fatalf("create the virtual clock: %v", err)
	}
	if err := store.Migrate(t.Context(), address.String(), log.NewNopLogger()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}

	set, err := db.PrepareContext(t.Context(), "UPDATE simulated.clock SET at = $1")
	if err != nil {
		t.Fatalf("prepare the statement that sets the clock: %v", err)
	}
	t.Cleanup(func() { _ = set.Close() })

	return Config{
		Seed:  seed,
		Steps: *serverSteps,
		Open: func(_ func() time.Time, s settings) (Store, error) {
			return store.New(store.Config{
				URL:                address.String(),
				Timeout:            storeTimeout,
				MaxConns:           8,
				FastInterval:       s.Fast,
				StalenessThreshold: s.Threshold,
			})
		},
		SetClock: func(now time.Time) error {
			_, err := set.ExecContext(t.Context(), now)
			return err
		},
		Hold: func() (<-chan struct{}, func() error, error) { return holdClock(t, db) },
	}
}

// isWaiting selects whether a statement waits for the clock.
const isWaiting = `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'simulated.clock'::regclass
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`

// holdClock locks the clock, so that the next statement that reads it waits.
func holdClock(t *testing.T, db *sql.DB) (<-chan struct{}, func() error, error) {
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
			if err := db.QueryRowContext(t.Context(), isWaiting).Scan(&waiting); err != nil {
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
			if _, err := Run(postgresConfig(t, seed)); err != nil {
				t.Fatalf("%v\nreplay: internal/testpg/with-postgres.sh go test ./internal/modeltest -run 'TestModel_Postgres$' "+
					"-modeltest.seed=%d -modeltest.server-seeds=1 -modeltest.server-steps=%d", err, seed, *serverSteps)
			}
		})
	}
}
