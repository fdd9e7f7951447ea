package store

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"darktower.example/global-controller/service"
)

func postgres() dialect {
	return dialect{
		name: "postgres",
		// Not now(), which is when the transaction began: the wait for a lock must not make a heartbeat older.
		now:        "clock_timestamp()",
		lockRow:    " FOR UPDATE",
		skipLocked: " FOR UPDATE SKIP LOCKED",
		lockTable:  "LOCK TABLE meeting_controllers IN ROW EXCLUSIVE MODE",
		bind:       func(t time.Time) any { return t },
		translate:  translatePostgres,
	}
}

func sqliteDialect() dialect {
	return dialect{
		name:      "sqlite",
		now:       "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
		bind:      func(t time.Time) any { return t.UnixMilli() },
		translate: translateSQLite,
	}
}

func unavailable(what string) error { return fmt.Errorf("%s: %w", what, service.ErrUnavailable) }

// translatePostgres goes by SQLSTATE. The server's texts stay out: they can quote statements and values.
func translatePostgres(err error) error {
	var server *pq.Error
	if errors.As(err, &server) {
		switch server.Code.Class() {
		case "08", "53", "57", "58": // connection, resources, operator (timeouts and shutdown), system
			return unavailable("database answered " + string(server.Code))
		}
		switch server.Code {
		case "55P03", "40001", "40P01", "25006", "25P03": // lock, serialization, deadlock, read-only, idle timeout
			return unavailable("database answered " + string(server.Code))
		}
		return fmt.Errorf("database answered %s", server.Code)
	}
	return translateConnection(err)
}

// translateSQLite goes by the primary result code.
func translateSQLite(err error) error {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_CANTOPEN:
			return unavailable(fmt.Sprintf("database answered %d", lite.Code()))
		}
		return fmt.Errorf("database answered %d", lite.Code())
	}
	return translateConnection(err)
}

func translateConnection(err error) error {
	var network net.Error
	switch {
	case errors.As(err, &network), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, sql.ErrConnDone), err.Error() == "sql: database is closed": // The standard library exports no value for the last.
		return unavailable("no connection to the database")
	}
	return err
}
