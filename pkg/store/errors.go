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

// errRejected means that the database rejected the values of a statement. The same statement with other values can succeed.
var errRejected = errors.New("values rejected")

func unavailable(what string) error { return fmt.Errorf("%s: %w", what, service.ErrUnavailable) }

// translatePostgresError translates by SQLSTATE.
func translatePostgresError(err error) error {
	var (
		server  *pq.Error
		connect *connectError
	)
	if !errors.As(err, &server) {
		return translateConnectionError(err)
	}
	if errors.As(err, &connect) {
		return unavailable("no connection to the database: " + describePostgresError(server))
	}

	switch server.Code.Class() {
	case "08", "53", "57", "58": // connection, resources, operator (timeouts and shutdown), system
		return unavailable(describePostgresError(server))
	case "22", "23", "54", "P0": // data, constraint, limit, raised by a trigger
		return fmt.Errorf("%s: %w", describePostgresError(server), errRejected)
	}

	switch server.Code {
	case "55P03", "40001", "40P01", "25006", "25P03", // lock, serialization, deadlock, read-only, idle timeout
		"0A000", "55000": // a standby's errors for a transaction that writes and for a lock
		return unavailable(describePostgresError(server))
	}
	return errors.New(describePostgresError(server))
}

// isRetryablePostgres reports whether PostgreSQL aborted the transaction because of a deadlock or a conflict with
// another one.
func isRetryablePostgres(err error) bool {
	var server *pq.Error
	return errors.As(err, &server) && (server.Code == "40001" || server.Code == "40P01")
}

// translateSQLiteError translates by the primary result code.
func translateSQLiteError(err error) error {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return translateConnectionError(err)
	}

	switch lite.Code() & 0xff {
	case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_FULL,
		sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_CANTOPEN:
		return unavailable(describeSQLiteError(lite))
	case sqlitelib.SQLITE_CONSTRAINT, sqlitelib.SQLITE_TOOBIG, sqlitelib.SQLITE_MISMATCH:
		return fmt.Errorf("%s: %w", describeSQLiteError(lite), errRejected)
	}
	return errors.New(describeSQLiteError(lite))
}

// closedText is the text of database/sql's error for a closed handle; it exports no value for it.
const closedText = "sql: database is closed"

// connectError wraps the cause of a failed connection, such as a wrong password, a certificate or a standby. The
// statement that needed the connection is not at fault.
type connectError struct{ err error }

func (e *connectError) Error() string { return "connect: " + e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

func translateConnectionError(err error) error {
	var (
		network net.Error
		connect *connectError
	)
	switch {
	case errors.Is(err, errReadOnlyServer):
		return unavailable("the database is read-only, as a standby is (read_only_sql_transaction)")
	case errors.As(err, &connect), errors.As(err, &network),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, sql.ErrConnDone), err.Error() == closedText:
		return unavailable("no connection to the database" + connectionCause(err))
	}
	return err
}

// connectionCause returns the cause of a failed connection. It omits the address, which may be secret, and is empty if the
// cause is unknown.
func connectionCause(err error) string {
	var (
		dns     *net.DNSError
		network net.Error
	)
	switch {
	case errors.As(err, &dns):
		return ": the host name does not resolve"
	case errors.Is(err, syscall.ECONNREFUSED):
		return ": connection refused"
	case errors.As(err, &network) && network.Timeout():
		return ": timeout"
	default:
		return ""
	}
}
