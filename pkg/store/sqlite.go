package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

const (
	sqliteScheme = "sqlite:"
	// sqliteReaders is the number of connections that read, besides the one that writes.
	sqliteReaders = 4
)

func sqliteDialect() dialect {
	// SQLite's time does not advance within a statement.
	const nowSQL = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
	return dialect{
		name:            "sqlite",
		nowSQL:          nowSQL,
		statementNowSQL: nowSQL,
		bind:            func(t time.Time) any { return t.UnixMilli() },
		translateError:  translateSQLiteError,
		isRetryable:     func(error) bool { return false },
	}
}

func (s *Store) openSQLite(address string, clock func() time.Time) error {
	path, err := sqlitePath(address)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create the folder of the database: %w", err)
	}

	source := sqliteSource(path, s.timeout)
	open := func(source string) (*sqlx.DB, error) { return sqlx.Open("sqlite", source) }
	if clock != nil {
		source += "&_pragma=synchronous(OFF)"
		open = func(source string) (*sqlx.DB, error) { return openSQLiteWithClock(source, clock) }
	}

	writer, err := open(source)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	writer.SetMaxOpenConns(1)
	readers, err := open(source + "&_pragma=query_only(1)")
	if err != nil {
		return errors.Join(fmt.Errorf("open the database: %w", err), writer.Close())
	}
	readers.SetMaxOpenConns(sqliteReaders)
	readers.SetMaxIdleConns(sqliteReaders)

	// Unlike a server, a file that cannot be opened now cannot be opened later either.
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	if err := writer.PingContext(ctx); err != nil {
		return errors.Join(fmt.Errorf("open the database file %s: %w", path, explainSQLiteOpenError(err)), readers.Close(), writer.Close())
	}

	s.dialect = sqliteDialect()
	s.writeDB, s.checkerDB = writer, writer
	s.readDB, s.watchDB = readers, readers
	return nil
}

// sqlitePath parses the part after "sqlite:": a path, or "///" and an absolute path.
func sqlitePath(address string) (string, error) {
	switch {
	case address == "", strings.HasSuffix(address, string(filepath.Separator)):
		return "", errors.New("invalid database URL: sqlite: needs the path of a file")
	case strings.HasPrefix(address, ":"), strings.HasPrefix(address, "file:"):
		return "", errors.New("invalid database URL: sqlite: needs the path of a file; a database in memory ends with its connection")
	case strings.HasPrefix(address, "//") && !strings.HasPrefix(address, "///"):
		return "", errors.New("invalid database URL: write a path after sqlite:, as in sqlite:data/gc.db or sqlite:///srv/gc.db")
	}
	return filepath.Clean(address), nil
}

// sqliteSource returns the data source. Its busy timeout, for locks of other processes, is shorter than that of an
// operation.
func sqliteSource(path string, timeout time.Duration) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() +
		fmt.Sprintf("?_txlock=immediate&_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)",
			(timeout*4/5).Milliseconds())
}

// explainSQLiteOpenError explains why a file cannot be opened. The library's text for most causes is "out of memory".
func explainSQLiteOpenError(err error) error {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return err
	}

	switch lite.Code() & 0xff {
	case sqlitelib.SQLITE_CANTOPEN:
		return errors.New("it is a folder, or this user has no permission to open it")
	case sqlitelib.SQLITE_READONLY:
		return errors.New("this user has no permission to write to it")
	case sqlitelib.SQLITE_NOTADB, sqlitelib.SQLITE_CORRUPT:
		return errors.New("it is not a database, or it is damaged")
	default:
		return errors.New(describeSQLiteError(lite))
	}
}
