package store

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"darktower.example/global-controller/service"
)

// errRejected says that the database refused what it was given, not that it could not be reached: the same statement with
// other values may well succeed.
var errRejected = errors.New("values refused")

func unavailable(what string) error { return fmt.Errorf("%s: %w", what, service.ErrUnavailable) }

// translatePostgres translates by SQLSTATE.
func translatePostgres(err error) error {
	var (
		server  *pq.Error
		dialled *connectError
	)
	if !errors.As(err, &server) {
		return translateConnection(err)
	}
	if errors.As(err, &dialled) {
		return unavailable("no connection to the database: " + postgresAnswer(server))
	}
	switch server.Code.Class() {
	case "08", "53", "57", "58": // connection, resources, operator (timeouts and shutdown), system
		return unavailable(postgresAnswer(server))
	case "22", "23", "54", "P0": // data, constraint, limit, raised by a trigger
		return fmt.Errorf("%s: %w", postgresAnswer(server), errRejected)
	}
	switch server.Code {
	case "55P03", "40001", "40P01", "25006", "25P03", // lock, serialization, deadlock, read-only, idle timeout
		"0A000", "55000": // what a standby answers to a transaction that writes and to a lock
		return unavailable(postgresAnswer(server))
	}
	return errors.New(postgresAnswer(server))
}

// retryPostgres names what PostgreSQL itself says to try again: a deadlock or a conflict, of which it made us the victim.
func retryPostgres(err error) bool {
	var server *pq.Error
	return errors.As(err, &server) && (server.Code == "40001" || server.Code == "40P01")
}

// translateSQLite goes by the primary result code.
func translateSQLite(err error) error {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return translateConnection(err)
	}
	switch lite.Code() & 0xff {
	case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_CANTOPEN:
		return unavailable(sqliteAnswer(lite))
	case sqlitelib.SQLITE_CONSTRAINT, sqlitelib.SQLITE_TOOBIG, sqlitelib.SQLITE_MISMATCH:
		return fmt.Errorf("%s: %w", sqliteAnswer(lite), errRejected)
	}
	return errors.New(sqliteAnswer(lite))
}

// errClosed is what database/sql says of a closed handle; it exports no value for it.
const errClosed = "sql: database is closed"

// connectError is why there is no connection: a password that is not the right one, a certificate, a standby. None of
// them is a mistake of the statement that was to be run.
type connectError struct{ err error }

func (e *connectError) Error() string { return "connect: " + e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

func translateConnection(err error) error {
	var (
		network net.Error
		dialled *connectError
	)
	switch {
	case errors.Is(err, errReadOnlyServer):
		return unavailable("the database is read-only, as a standby is (read_only_sql_transaction)")
	case errors.As(err, &dialled), errors.As(err, &network), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, sql.ErrConnDone), err.Error() == errClosed:
		return unavailable("no connection to the database" + connectionCause(err))
	}
	return err
}

// connectionCause says why there is no connection, without the address, which may be secret; empty where that is not known.
func connectionCause(err error) string {
	var (
		name    *net.DNSError
		network net.Error
	)
	switch {
	case errors.As(err, &name):
		return ": the host name is not known"
	case errors.Is(err, syscall.ECONNREFUSED):
		return ": connection refused"
	case errors.As(err, &network) && network.Timeout():
		return ": no answer in time"
	default:
		return ""
	}
}
