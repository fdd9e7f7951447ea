// Package store keeps the fleet in PostgreSQL or in an embedded SQLite file, through one set of statements.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // registers "postgres"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // registers "sqlite"

	"darktower.example/global-controller/migrations"
	"darktower.example/global-controller/service"
)

// The bounds of the pool and of each operation, the wait for a connection included.
const (
	maxConnections   = 20
	operationTimeout = 5 * time.Second
)

// Store is the storage of the service, its health checker and its metrics.
type Store struct {
	dialect dialect
	// write is where everything happens that changes something; on SQLite that is one connection.
	write *sqlx.DB
	read  *sqlx.DB
	// lockFile is locked while the schema changes; empty where the database has locks for that.
	lockFile string
}

var (
	_ service.Store      = (*Store)(nil)
	_ service.Sweeper    = (*Store)(nil)
	_ service.Summarizer = (*Store)(nil)
)

// dialect is what differs between the databases.
type dialect struct {
	name string
	// now is the database's clock.
	now string
	// lockRow and skipLocked follow a SELECT that locks what it reads.
	lockRow, skipLocked string
	// lockTable proves that heartbeats could be committed; empty where a transaction is proof enough.
	lockTable string
	// bind turns a time into what a column of times is compared with.
	bind func(time.Time) any
	// translate tells trouble of the database from mistakes of ours.
	translate func(error) error
}

// Open returns the store at address, "postgres://…" or "sqlite:PATH". It does not connect to PostgreSQL yet, so
// that a service can start before its database does.
func Open(address string) (*Store, error) {
	switch {
	case strings.HasPrefix(address, "postgres://"), strings.HasPrefix(address, "postgresql://"):
		return openPostgres(address)
	case strings.HasPrefix(address, "sqlite:"):
		return openSQLite(strings.TrimPrefix(address, "sqlite:"))
	default:
		return nil, errors.New("a database address is postgres://… or sqlite:PATH")
	}
}

func openPostgres(address string) (*Store, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address of the database is not a URL") // The parser's error quotes the password.
	}
	query := u.Query()
	for name, value := range map[string]string{
		"statement_timeout": "5000", "lock_timeout": "4000", "idle_in_transaction_session_timeout": "10000", "connect_timeout": "5", "TimeZone": "UTC",
	} {
		if !query.Has(name) {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	db, err := sqlx.Open("postgres", u.String())
	if err != nil {
		return nil, errors.New("the address of the database is not understood")
	}
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	return &Store{dialect: postgres(), write: db, read: db}, nil
}

func openSQLite(path string) (*Store, error) {
	if path == "" {
		return nil, errors.New("sqlite: needs the path of a file")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the database: %w", err)
	}
	source := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(4000)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"
	write, err := sqlx.Open("sqlite", source)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	write.SetMaxOpenConns(1)
	read, err := sqlx.Open("sqlite", source+"&_pragma=query_only(1)")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the database: %w", err), write.Close())
	}
	read.SetMaxOpenConns(4)
	return &Store{dialect: sqliteDialect(), write: write, read: read, lockFile: path + ".migrate"}, nil
}

// Migrate brings the schema up to date. Replicas that start together take turns.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations.FS, s.dialect.name)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	gooseDialect, options := goose.DialectSQLite3, []goose.ProviderOption(nil)
	if s.dialect.name == "postgres" {
		gooseDialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
		if err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	unlock, err := s.lockSchema()
	if err != nil {
		return err
	}
	defer unlock()
	provider, err := goose.NewProvider(gooseDialect, s.write.DB, files, options...)
	if err != nil {
		return fmt.Errorf("read migrations: %w", s.dialect.translate(err))
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", s.dialect.translate(err))
	}
	return nil
}

// lockSchema keeps other processes from migrating the same file; the lock ends with the process at the latest.
func (s *Store) lockSchema() (unlock func(), err error) {
	if s.lockFile == "" {
		return func() {}, nil
	}
	file, err := os.OpenFile(s.lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock migrations: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock migrations: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// Ping tells whether the store answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.bounded(ctx, func(ctx context.Context) error { return s.read.PingContext(ctx) })
}

// Close closes every connection.
func (s *Store) Close() error {
	if s.read == s.write {
		return s.write.Close()
	}
	return errors.Join(s.read.Close(), s.write.Close())
}

// bounded runs one operation within its time. The caller's own end is told from ours: only ours is the store's fault.
func (s *Store) bounded(ctx context.Context, operation func(context.Context) error) error {
	own, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	err := operation(own)
	switch {
	case err == nil, errors.Is(err, service.ErrNotRegistered):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case own.Err() != nil:
		return fmt.Errorf("store too slow: %w", service.ErrUnavailable)
	default:
		return s.dialect.translate(err)
	}
}

// transact runs one operation in one transaction, which it commits when the operation succeeds.
func (s *Store) transact(ctx context.Context, operation func(context.Context, *sqlx.Tx) error) error {
	return s.bounded(ctx, func(ctx context.Context) error {
		tx, err := s.write.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		if err := operation(ctx, tx); err != nil {
			// The operation's error says more than that of a rollback, which fails when the connection is gone.
			_ = tx.Rollback()
			return err
		}
		return tx.Commit()
	})
}

// now reads the database's clock.
func (s *Store) now(ctx context.Context, tx *sqlx.Tx) (time.Time, error) {
	var now dbTime
	err := tx.GetContext(ctx, &now, "SELECT "+s.dialect.now)
	return now.Time, err
}

// dbTime reads a time from either database: a timestamp, or Unix milliseconds.
type dbTime struct{ time.Time }

// Scan implements [sql.Scanner].
func (t *dbTime) Scan(value any) error {
	switch v := value.(type) {
	case time.Time:
		t.Time = v.UTC()
	case int64:
		t.Time = time.UnixMilli(v).UTC()
	default:
		return fmt.Errorf("a time cannot be a %T", value)
	}
	return nil
}

var _ sql.Scanner = (*dbTime)(nil)
