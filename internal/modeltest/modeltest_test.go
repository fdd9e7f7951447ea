package modeltest

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-kit/log"
	"go.uber.org/goleak"

	"darktower.example/global-controller/pkg/store"
)

var (
	firstSeed = flag.Uint64("modeltest.seed", 1, "first seed")
	seeds     = flag.Uint64("modeltest.seeds", 3, "number of seeds")
	steps     = flag.Int("modeltest.steps", 700, "number of steps of each seed")
)

// storeTimeout is longer than any stall of the machine: a timeout by the machine's clock would change the history of a seed.
const storeTimeout = 10 * time.Minute

// sqliteConfig returns the configuration of a history over a new SQLite file.
func sqliteConfig(t *testing.T, seed uint64) Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gc.db")
	url := "sqlite:" + path
	if err := store.Migrate(t.Context(), url, log.NewNopLogger()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}

	return Config{
		Seed:  seed,
		Steps: *steps,
		Open: func(clock func() time.Time, s settings) (Store, error) {
			return store.New(store.Config{
				URL:                url,
				Timeout:            storeTimeout,
				Clock:              clock,
				FastInterval:       s.Fast,
				StalenessThreshold: s.Threshold,
			})
		},
		Backup: func() (Backup, error) { return copyFile(path) },
	}
}

// fileBackup is a copy of a database file.
type fileBackup struct{ path string }

func copyFile(path string) (_ Backup, err error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	b := fileBackup{path + ".backup"}
	_, err = db.ExecContext(context.Background(), "VACUUM INTO ?", b.path)
	return b, err
}

func (b fileBackup) Restore(clock func() time.Time) (Store, error) {
	return store.New(store.Config{URL: "sqlite:" + b.path, Timeout: storeTimeout, Clock: clock})
}

func (b fileBackup) Drop() error {
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(b.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Remove(b.path)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failWithReplay fails the test with the command that repeats the history.
func failWithReplay(t *testing.T, name string, seed uint64, steps int, err error) {
	t.Helper()
	t.Fatalf("%v\nreplay: go test ./internal/modeltest -run '%s' -modeltest.seed=%d -modeltest.seeds=1 -modeltest.steps=%d",
		err, name, seed, steps)
}

func TestModel(t *testing.T) {
	t.Parallel()
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if _, err := Run(sqliteConfig(t, seed)); err != nil {
				failWithReplay(t, "TestModel$", seed, *steps, err)
			}
		})
	}
}

func TestModel_SameSeedSameHistory(t *testing.T) {
	t.Parallel()
	var hashes []uint64
	for _, seed := range []uint64{7, 7, 8} {
		cfg := sqliteConfig(t, seed)
		cfg.Steps = 400
		hash, err := Run(cfg)
		if err != nil {
			failWithReplay(t, "TestModel$", seed, cfg.Steps, err)
		}
		hashes = append(hashes, hash)
	}
	if hashes[0] != hashes[1] || hashes[0] == hashes[2] {
		t.Errorf("hashes = %x, want the first two equal and the third different", hashes)
	}
}
