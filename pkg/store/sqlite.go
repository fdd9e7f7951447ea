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
	// sqliteReaders is how many connections read beside the one that writes.
	sqliteReaders = 4
)

func sqliteDialect() dialect {
	return dialect{
		name: "sqlite",
		now:  "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
		// It stands still within a statement.
		statementNow: "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
		bind:         func(t time.Time) any { return t.UnixMilli() },
		translate:    translateSQLite,
		retryable:    func(error) bool { return false },
	}
}

func (s *Store) openSQLite(address string, clock func() time.Time) error {
	path, err := sqlitePath(address)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the folder of the database: %w", err)
	}
	source, open := sqliteSource(path, s.timeout), func(source string) (*sqlx.DB, error) { return sqlx.Open("sqlite", source) }
	if clock != nil {
		source += "&_pragma=synchronous(OFF)"
		open = func(source string) (*sqlx.DB, error) { return openClocked(source, clock) }
	}
	write, err := open(source)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	write.SetMaxOpenConns(1)
	read, err := open(source + "&_pragma=query_only(1)")
	if err != nil {
		return errors.Join(fmt.Errorf("open the database: %w", err), write.Close())
	}
	read.SetMaxOpenConns(sqliteReaders)
	read.SetMaxIdleConns(sqliteReaders)
	// Unlike a server, a file that cannot be opened now will not be there later either.
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	if err := write.PingContext(ctx); err != nil {
		return errors.Join(fmt.Errorf("open the database file %s: %w", path, describeSQLite(err)), read.Close(), write.Close())
	}
	s.dialect, s.write, s.read, s.watch, s.checker = sqliteDialect(), write, read, read, write
	return nil
}

// sqlitePath reads what follows "sqlite:": a path, or "///" and an absolute one.
func sqlitePath(address string) (string, error) {
	switch {
	case address == "", strings.HasSuffix(address, string(filepath.Separator)):
		return "", errors.New("sqlite: needs the path of a file")
	case strings.HasPrefix(address, ":"), strings.HasPrefix(address, "file:"):
		return "", errors.New("sqlite: needs the path of a file; a database in memory would not outlive its connection")
	case strings.HasPrefix(address, "//") && !strings.HasPrefix(address, "///"):
		return "", errors.New("sqlite: is followed by a path, as in sqlite:data/gc.db or sqlite:///srv/gc.db")
	}
	return filepath.Clean(address), nil
}

// sqliteSource waits for other processes a little less long than an operation may take.
func sqliteSource(path string, timeout time.Duration) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() +
		fmt.Sprintf("?_txlock=immediate&_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)",
			(timeout*4/5).Milliseconds())
}

// describeSQLite says in words why a file cannot be opened; the library's own text for most of it is "out of memory".
func describeSQLite(err error) error {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return err
	}
	switch lite.Code() & 0xff {
	case sqlitelib.SQLITE_CANTOPEN:
		return errors.New("it is a folder, or this user may not open it")
	case sqlitelib.SQLITE_READONLY:
		return errors.New("this user may not write to it")
	case sqlitelib.SQLITE_NOTADB, sqlitelib.SQLITE_CORRUPT:
		return errors.New("it is not a database, or it is damaged")
	default:
		return errors.New(sqliteAnswer(lite))
	}
}
