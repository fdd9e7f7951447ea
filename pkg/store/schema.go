package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/migrations"
)

// ErrIncompatibleSchema is returned, wrapped, if the database records that this binary may not use its schema.
var ErrIncompatibleSchema = errors.New("incompatible schema")

// ErrSchemaInUse is returned, wrapped, if the schema cannot be migrated down because replicas use the database.
var ErrSchemaInUse = errors.New("the database is in use")

// ErrUnknownMigration is returned, wrapped, if the schema cannot be migrated down because only a newer release has the
// migration.
var ErrUnknownMigration = errors.New("unknown migration")

// inUseDuration is how long after its last beat a replica counts as running: several beats, and the longest sweep.
const inUseDuration = 10 * time.Second

// SchemaState compares the schema of a database with this binary.
type SchemaState struct {
	// Version is the newest migration that was applied; 0 means none.
	Version int64
	// BinaryVersion is the newest migration that this binary has.
	BinaryVersion int64
	// MinBinaryVersion is the minimum BinaryVersion that the database permits; 0 means no limit.
	MinBinaryVersion int64
}

// IsNewer reports whether the schema has migrations that this binary does not have.
func (s SchemaState) IsNewer() bool { return s.Version > s.BinaryVersion }

// IsCompatible reports whether this binary may use the schema.
func (s SchemaState) IsCompatible() bool { return s.MinBinaryVersion <= s.BinaryVersion }

// Err returns nil if this binary may use the schema; otherwise it wraps [ErrIncompatibleSchema] with advice.
func (s SchemaState) Err() error {
	if s.IsCompatible() {
		return nil
	}
	return fmt.Errorf("%w: the database has schema version %d, which needs a binary with schema version %d or newer, and this one has %d: "+
		"run the newer release, or migrate the schema down with the newer release: 'global-controller migrate down %d'",
		ErrIncompatibleSchema, s.Version, s.MinBinaryVersion, s.BinaryVersion, s.BinaryVersion)
}

// BinarySchemaVersion is the newest migration that this binary has.
var BinarySchemaVersion = sync.OnceValue(func() (newest int64) {
	files, _ := fs.ReadDir(migrations.FS, "postgres") // The files are embedded, so the error is nil.
	for _, file := range files {
		number, _, _ := strings.Cut(file.Name(), "_")
		if version, err := strconv.ParseInt(number, 10, 64); err == nil {
			newest = max(newest, version)
		}
	}
	return newest
})

// Schema compares the database's schema with this binary. It returns no error if they are incompatible.
func (s *Store) Schema(ctx context.Context) (SchemaState, error) {
	db := s.readDB
	if s.dialect.isPostgres {
		// The checker's pool has a free connection even if a burst of calls uses all others.
		db = s.checkerDB
	}
	return run(ctx, s, "schema", func(ctx context.Context) (SchemaState, error) { return readSchema(ctx, db, s.dialect.name) })
}

// querier is implemented by pools and connections.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

var _ querier = (*sqlx.DB)(nil)

func readSchema(ctx context.Context, db querier, dialect string) (SchemaState, error) {
	state := SchemaState{BinaryVersion: BinarySchemaVersion()}
	appliedAt, err := readAppliedAt(ctx, db, dialect)
	if err != nil {
		return state, err
	}
	for version := range appliedAt {
		state.Version = max(state.Version, version)
	}

	exists, err := tableExists(ctx, db, dialect, "schema_compatibility")
	if err != nil || !exists {
		return state, err
	}

	err = db.QueryRowContext(ctx, `SELECT min_binary_schema FROM schema_compatibility WHERE id = 1`).Scan(&state.MinBinaryVersion)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}

	return state, err
}

// readAppliedAt returns the times at which migrations were applied, by version.
func readAppliedAt(ctx context.Context, db querier, dialect string) (map[int64]time.Time, error) {
	exists, err := tableExists(ctx, db, dialect, "goose_db_version")
	if err != nil || !exists {
		return nil, err
	}

	rows, err := db.QueryContext(ctx, `SELECT version_id, tstamp FROM goose_db_version WHERE is_applied AND version_id > 0`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()

	appliedAt := make(map[int64]time.Time)
	for rows.Next() {
		var (
			version int64
			at      time.Time
		)
		if err := rows.Scan(&version, &at); err != nil {
			return nil, err
		}
		appliedAt[version] = at
	}

	return appliedAt, rows.Err()
}

func tableExists(ctx context.Context, db querier, dialect, table string) (exists bool, err error) {
	// table is a constant of this package. A query without parameters is one message, which a pooler cannot split.
	query := `SELECT to_regclass('` + table + `') IS NOT NULL`
	if dialect == "sqlite" {
		query = `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '` + table + `')`
	}
	err = db.QueryRowContext(ctx, query).Scan(&exists)
	return exists, err
}

// listRunningReplicas returns the ids of the replicas that beat recently, by the database's clock. It returns "a
// replica" for one of a release that does not record its id.
func listRunningReplicas(ctx context.Context, db querier, dialect string) (ids []string, err error) {
	recent := map[string]string{
		"postgres": `clock_timestamp() - make_interval(secs => ` + strconv.Itoa(int(inUseDuration.Seconds())) + `)`,
		"sqlite":   `CAST(unixepoch('subsec') * 1000 AS INTEGER) - ` + strconv.FormatInt(inUseDuration.Milliseconds(), 10),
	}[dialect]

	for _, source := range []struct{ table, query string }{
		{"replicas", `SELECT replica_id FROM replicas WHERE seen_at > ` + recent + ` AND ` + isReplicaSQL + ` ORDER BY replica_id`},
		{"checker_state", `SELECT 'a replica' FROM checker_state WHERE beat_at > ` + recent},
	} {
		exists, err := tableExists(ctx, db, dialect, source.table)
		if err != nil {
			return nil, err
		}
		if !exists {
			continue
		}
		if ids, err = readStrings(ctx, db, source.query); err != nil || len(ids) > 0 {
			return ids, err
		}
	}

	return nil, nil
}

// readStrings returns the rows of a query with one column.
func readStrings(ctx context.Context, db querier, query string) (values []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()

	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}

// isSchemaError reports whether the state of the schema forbids the operation. The text of such an error is written for
// operators; that of a database error is not.
func isSchemaError(err error) bool {
	schemaErrors := []error{ErrIncompatibleSchema, ErrSchemaInUse, ErrUnknownMigration}
	return slices.ContainsFunc(schemaErrors, func(target error) bool { return errors.Is(err, target) })
}
