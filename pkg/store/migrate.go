package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"darktower.example/global-controller/internal/filelock"
	"darktower.example/global-controller/migrations"
)

// How replicas that start together take turns: each looks once a period, for at most that many periods.
const (
	schemaLockPeriod  = time.Second
	schemaLockPeriods = 60
	// schemaReadTimeout is how long one statement of a migration may take.
	schemaReadTimeout = 24 * time.Hour
)

// MigrationState is one migration and when it was applied; AppliedAt is zero while it is pending.
type MigrationState struct {
	Version   int64
	Name      string // Empty if it is unknown.
	AppliedAt time.Time
	// IsUnknown is true for one that was applied by a newer release and that this binary does not have.
	IsUnknown bool
}

// DownOptions has the target version of a migration down.
type DownOptions struct {
	// Version is the last migration that stays; 0 leaves nothing.
	Version int64
	// WhileReplicasRun allows it while replicas use the database.
	WhileReplicasRun bool
}

// Migrate brings the schema at url up to date; it returns [service.ErrUnavailable] (wrapped) when the database is down, and
// [ErrIncompatibleSchema] when the schema is not for this binary. Replicas that start together take turns.
func Migrate(ctx context.Context, url string, logger log.Logger) error {
	return migrating(ctx, url, func(m schema) error {
		state, err := readSchema(ctx, m.db, m.dialect)
		if err != nil {
			return err
		}
		if err := state.Err(); err != nil {
			return err
		}
		if state.IsNewer() {
			_ = level.Warn(logger).Log("msg", "the database's schema is newer than this binary, which may still use it",
				"schema_version", state.Version, "binary_schema_version", state.BinaryVersion, "min_binary_schema", state.MinBinaryVersion)
		}
		done, err := m.provider.Up(ctx)
		logMigrations(logger, done)
		return err
	})
}

// MigrateDown migrates the schema down and removes its data. It returns [ErrSchemaInUse] (wrapped) while replicas use the
// database, unless that is allowed, and [ErrUnknownMigration] if only a newer release can do it.
func MigrateDown(ctx context.Context, url string, options DownOptions, logger log.Logger) error {
	return migrating(ctx, url, func(m schema) error {
		state, err := readSchema(ctx, m.db, m.dialect)
		switch {
		case err != nil:
			return err
		case state.IsNewer():
			return fmt.Errorf("%w: the database has schema version %d and this binary has those up to %d: use the release that made it",
				ErrUnknownMigration, state.Version, state.BinaryVersion)
		}
		if !options.WhileReplicasRun {
			running, err := listRunningReplicas(ctx, m.db, m.dialect)
			switch {
			case err != nil:
				return err
			case len(running) > 0:
				return fmt.Errorf("%w: %s beat within the last %v: stop every replica and wait that long, or pass --while-replicas-run: their calls will fail",
					ErrSchemaInUse, strings.Join(running, ", "), inUseFor)
			}
		}
		done, err := m.provider.DownTo(ctx, options.Version)
		logMigrations(logger, done)
		return err
	})
}

// MigrationStatus lists the migrations in their order, including those that only a newer release has, and compares the
// schema with this binary.
func MigrationStatus(ctx context.Context, url string) (states []MigrationState, schemaState SchemaState, err error) {
	err = migrating(ctx, url, func(m schema) error {
		found, err := m.provider.Status(ctx)
		if err != nil {
			return err
		}
		applied, err := readApplied(ctx, m.db, m.dialect)
		if err != nil {
			return err
		}
		for _, bundled := range found {
			states = append(states, MigrationState{
				Version:   bundled.Source.Version,
				Name:      filepath.Base(bundled.Source.Path),
				AppliedAt: bundled.AppliedAt,
			})
			delete(applied, bundled.Source.Version)
		}
		for version, at := range applied {
			states = append(states, MigrationState{Version: version, AppliedAt: at, IsUnknown: true})
		}
		slices.SortFunc(states, func(a, b MigrationState) int { return cmp.Compare(a.Version, b.Version) })
		schemaState, err = readSchema(ctx, m.db, m.dialect)
		return err
	})
	return states, schemaState, err
}

// Migrate brings the store's schema up to date, as the function of that name does.
func (s *Store) Migrate(ctx context.Context) error { return Migrate(ctx, s.url, log.NewNopLogger()) }

func logMigrations(logger log.Logger, done []*goose.MigrationResult) {
	for _, m := range done {
		_ = level.Info(logger).Log("msg", "migrated", "direction", m.Direction, "version", m.Source.Version, "took", m.Duration)
	}
}

// schema is what the work at a schema needs.
type schema struct {
	provider *goose.Provider
	db       *sql.DB
	dialect  string
}

// migrating calls work with connections of its own, without the timeouts of those for heartbeats: an index may take minutes to
// build.
func migrating(ctx context.Context, url string, work func(schema) error) error {
	name, kind, db, lockFile, err := openSchema(url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	translate := map[string]func(error) error{"postgres": translatePostgres, "sqlite": translateSQLite}[name]
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if name == "postgres" {
		options = append(options, goose.WithSessionLocker(&schemaLocker{db: db}))
	} else {
		unlock, err := lockSchemaFile(ctx, lockFile)
		if err != nil {
			return fmt.Errorf("lock the schema: %w", err)
		}
		defer unlock()
	}
	files, err := fs.Sub(migrations.FS, name)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	provider, err := goose.NewProvider(kind, db, files, options...)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := work(schema{provider, db, name}); err != nil {
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("migrate: %w", ctx.Err())
		case isSchemaRefusal(err):
			return fmt.Errorf("migrate: %w", err)
		}
		return fmt.Errorf("migrate: %w", translate(root(err)))
	}
	return nil
}

// root is the error at the end of the chain: those around it quote the statement that failed.
func root(err error) error {
	for {
		var next error
		if many, ok := err.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 0 {
			next = many.Unwrap()[0]
		} else {
			next = errors.Unwrap(err)
		}
		if next == nil {
			return err
		}
		err = next
	}
}

// schemaLocker has replicas take turns by a lock that a transaction holds: behind a pooler a session cannot hold one. It
// is the lock that goose's own locker takes, so earlier versions are kept out as well.
type schemaLocker struct {
	db *sql.DB
	tx *sql.Tx
}

// SessionLock implements [lock.SessionLocker].
func (l *schemaLocker) SessionLock(ctx context.Context, _ *sql.Conn) error {
	// The transaction outlives ctx, which is that of the wait.
	tx, err := l.db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	isHeld, err := l.take(ctx, tx)
	if err == nil && !isHeld {
		err = errors.New("another process is changing it")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lock the schema: %w", err), tx.Rollback())
	}
	l.tx = tx
	return nil
}

func (l *schemaLocker) take(ctx context.Context, tx *sql.Tx) (isHeld bool, err error) {
	if _, err := tx.ExecContext(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
		return false, err
	}
	for range schemaLockPeriods {
		if err := tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock($1)", lock.DefaultLockID).Scan(&isHeld); err != nil || isHeld {
			return isHeld, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(schemaLockPeriod):
		}
	}
	return false, nil
}

// SessionUnlock implements [lock.SessionLocker].
func (l *schemaLocker) SessionUnlock(context.Context, *sql.Conn) error {
	tx := l.tx
	l.tx = nil
	return tx.Rollback()
}

func openSchema(url string) (name string, kind goose.Dialect, db *sql.DB, lockFile string, err error) {
	if address, isSQLite := strings.CutPrefix(url, sqliteScheme); isSQLite {
		path, err := sqlitePath(address)
		if err != nil {
			return "", "", nil, "", err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", "", nil, "", fmt.Errorf("make the folder of the database: %w", err)
		}
		db, err := sql.Open("sqlite", sqliteSource(path, defaultTimeout))
		if err != nil {
			return "", "", nil, "", fmt.Errorf("open the database: %w", err)
		}
		db.SetMaxOpenConns(1)
		return "sqlite", goose.DialectSQLite3, db, path + ".migrate", nil
	}
	servers, err := newCluster(url, schemaReadTimeout)
	if err != nil {
		return "", "", nil, "", err
	}
	// Without settings for statements outside of a transaction: CREATE INDEX CONCURRENTLY cannot run in one.
	connector, err := servers.connector([]setting{{"lock_timeout", "4000"}, {isolationSetting, "read committed"}}, false)
	if err != nil {
		return "", "", nil, "", err
	}
	return "postgres", goose.DialectPostgres, sql.OpenDB(connector), "", nil
}

// lockSchemaFile keeps other processes from migrating the same database.
func lockSchemaFile(ctx context.Context, path string) (unlock func(), err error) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		unlock, err := filelock.TryLock(path)
		if !errors.Is(err, filelock.ErrHeld) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-look.C:
		}
	}
}
