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

	"darktower.example/global-controller/migrations"
)

// migrationReadTimeout limits one statement of a migration.
const migrationReadTimeout = 24 * time.Hour

// MigrationState is the state of one migration.
type MigrationState struct {
	Version   int64
	Name      string    // Empty if the migration is unknown.
	AppliedAt time.Time // Zero while the migration is pending.
	// IsUnknown is true if a newer release applied the migration and this binary does not have it.
	IsUnknown bool
}

// DownOptions has the target version of a migration down.
type DownOptions struct {
	// Version is the last migration that stays; 0 leaves nothing.
	Version int64
	// WhileReplicasRun permits the migration while replicas use the database.
	WhileReplicasRun bool
}

// Migrate migrates the schema at url up. It returns [service.ErrUnavailable] (wrapped) if the database is down, and
// [ErrIncompatibleSchema] if this binary may not use the schema. Replicas that start together migrate one after the other.
func Migrate(ctx context.Context, url string, logger log.Logger) error {
	return withSchema(ctx, url, func(m migrator) error {
		state, err := readSchema(ctx, m.db, m.dialect)
		if err != nil {
			return err
		}
		if err := state.Err(); err != nil {
			return err
		}

		if state.IsNewer() {
			_ = level.Warn(logger).Log("msg", "the database's schema is newer than this binary; they are compatible",
				"schema_version", state.Version, "binary_schema_version", state.BinaryVersion, "min_binary_schema", state.MinBinaryVersion)
		}
		results, err := m.provider.Up(ctx)
		logMigrations(logger, results)
		return err
	})
}

// MigrateDown migrates the schema down and deletes its data. It returns [ErrSchemaInUse] (wrapped) while replicas use the
// database, unless the options permit that, and [ErrUnknownMigration] if only a newer release has a migration.
func MigrateDown(ctx context.Context, url string, options DownOptions, logger log.Logger) error {
	return withSchema(ctx, url, func(m migrator) error {
		state, err := readSchema(ctx, m.db, m.dialect)
		switch {
		case err != nil:
			return err
		case state.IsNewer():
			return fmt.Errorf("%w: the database has schema version %d, and this binary has the versions up to %d: "+
				"use the release that migrated it", ErrUnknownMigration, state.Version, state.BinaryVersion)
		}
		if !options.WhileReplicasRun {
			if err := checkNoReplicaRuns(ctx, m); err != nil {
				return err
			}
		}

		results, err := m.provider.DownTo(ctx, options.Version)
		logMigrations(logger, results)
		return err
	})
}

// checkNoReplicaRuns returns [ErrSchemaInUse] (wrapped) if a replica beat recently.
func checkNoReplicaRuns(ctx context.Context, m migrator) error {
	running, err := listRunningReplicas(ctx, m.db, m.dialect)
	if err != nil || len(running) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s beat within the last %v: stop every replica and wait that long, or pass --while-replicas-run; "+
		"their calls then fail", ErrSchemaInUse, strings.Join(running, ", "), inUseDuration)
}

// MigrationStatus returns the migrations in their order, including those that only a newer release has, and compares the
// schema with this binary.
func MigrationStatus(ctx context.Context, url string) (states []MigrationState, schemaState SchemaState, err error) {
	err = withSchema(ctx, url, func(m migrator) error {
		found, err := m.provider.Status(ctx)
		if err != nil {
			return err
		}
		appliedAt, err := readAppliedAt(ctx, m.db, m.dialect)
		if err != nil {
			return err
		}

		for _, bundled := range found {
			states = append(states, MigrationState{
				Version:   bundled.Source.Version,
				Name:      filepath.Base(bundled.Source.Path),
				AppliedAt: bundled.AppliedAt,
			})
			delete(appliedAt, bundled.Source.Version)
		}
		for version, at := range appliedAt {
			states = append(states, MigrationState{Version: version, AppliedAt: at, IsUnknown: true})
		}

		slices.SortFunc(states, func(a, b MigrationState) int { return cmp.Compare(a.Version, b.Version) })
		schemaState, err = readSchema(ctx, m.db, m.dialect)
		return err
	})
	return states, schemaState, err
}

// Migrate migrates the store's schema up, as the function [Migrate] does.
func (s *Store) Migrate(ctx context.Context) error { return Migrate(ctx, s.url, log.NewNopLogger()) }

func logMigrations(logger log.Logger, results []*goose.MigrationResult) {
	for _, m := range results {
		_ = level.Info(logger).Log("msg", "migrated", "direction", m.Direction, "version", m.Source.Version, "took", m.Duration)
	}
}

// migrator has the connections and the migrations of a schema.
type migrator struct {
	provider *goose.Provider
	db       *sql.DB
	dialect  string
}

// withSchema calls work with the lock on the schema. Its connections do not have the timeouts of those for heartbeats:
// an index may take minutes to build.
func withSchema(ctx context.Context, url string, work func(migrator) error) error {
	target, err := openSchema(url)
	if err != nil {
		return err
	}
	defer func() { _ = target.db.Close() }()

	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if target.lockFile == "" {
		options = append(options, goose.WithSessionLocker(&schemaLocker{db: target.db}))
	} else {
		unlock, err := lockSchemaFile(ctx, target.lockFile)
		if err != nil {
			return fmt.Errorf("lock the schema: %w", err)
		}
		defer unlock()
	}

	files, err := fs.Sub(migrations.FS, target.dialect)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	provider, err := goose.NewProvider(target.gooseDialect, target.db, files, options...)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}

	if err := work(migrator{provider: provider, db: target.db, dialect: target.dialect}); err != nil {
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("migrate: %w", ctx.Err())
		case isSchemaError(err):
			return fmt.Errorf("migrate: %w", err)
		}
		return fmt.Errorf("migrate: %w", target.translateError(rootCause(err)))
	}
	return nil
}

// rootCause returns the error at the end of the chain. The errors around it quote the statement that failed.
func rootCause(err error) error {
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

// schemaTarget is a database to migrate.
type schemaTarget struct {
	dialect        string // the name of a [dialect], and of the folder of its migrations
	gooseDialect   goose.Dialect
	db             *sql.DB
	lockFile       string // Empty for PostgreSQL, which has locks.
	translateError func(error) error
}

func openSchema(url string) (schemaTarget, error) {
	if address, isSQLite := strings.CutPrefix(url, sqliteScheme); isSQLite {
		return openSchemaSQLite(address)
	}
	return openSchemaPostgres(url)
}

func openSchemaSQLite(address string) (schemaTarget, error) {
	path, err := sqlitePath(address)
	if err != nil {
		return schemaTarget{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return schemaTarget{}, fmt.Errorf("create the folder of the database: %w", err)
	}
	db, err := sql.Open("sqlite", sqliteSource(path, defaultTimeout))
	if err != nil {
		return schemaTarget{}, fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(1)

	return schemaTarget{
		dialect:        "sqlite",
		gooseDialect:   goose.DialectSQLite3,
		db:             db,
		lockFile:       path + ".migrate",
		translateError: translateSQLiteError,
	}, nil
}

func openSchemaPostgres(url string) (schemaTarget, error) {
	group, err := newServerGroup(url, migrationReadTimeout)
	if err != nil {
		return schemaTarget{}, err
	}
	// Statements outside of a transaction get no settings, which would make them part of one: CREATE INDEX CONCURRENTLY
	// cannot run in a transaction.
	connector, err := group.newConnector([]setting{{"lock_timeout", "4000"}, {isolationSetting, "read committed"}}, false)
	if err != nil {
		return schemaTarget{}, err
	}

	return schemaTarget{
		dialect:        "postgres",
		gooseDialect:   goose.DialectPostgres,
		db:             sql.OpenDB(connector),
		translateError: translatePostgresError,
	}, nil
}
