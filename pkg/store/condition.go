package store

import (
	"errors"
	"strconv"
	"strings"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"darktower.example/global-controller/service"
)

// withCondition adds the name of the condition that the database reported to the translated error.
func withCondition(reported, translated error) error {
	if name := conditionName(reported); name != "" {
		return &service.ConditionError{Name: name, Err: translated}
	}
	return translated
}

// conditionName returns the name of the condition that a database reported, as PostgreSQL's manual lists them. The name
// quotes no value. It is empty if the error is not the database's.
func conditionName(err error) string {
	var server *pq.Error
	switch {
	case errors.Is(err, errReadOnlyServer):
		return "read_only_sql_transaction"
	case errors.As(err, &server):
		return server.Code.Name()
	}

	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return sqliteConditionName(lite)
	}
	return ""
}

// sqliteConditionName returns PostgreSQL's name of the condition that an SQLite error reports.
func sqliteConditionName(err *sqlite.Error) string {
	switch err.Code() & 0xff {
	case sqlitelib.SQLITE_FULL:
		return "disk_full"
	case sqlitelib.SQLITE_READONLY:
		return "read_only_sql_transaction"
	case sqlitelib.SQLITE_IOERR:
		return "io_error"
	case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED:
		return "lock_not_available"
	case sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB:
		return "data_corrupted"
	case sqlitelib.SQLITE_CANTOPEN:
		return "undefined_file"
	}

	switch {
	case strings.Contains(err.Error(), "no such table"):
		return "undefined_table"
	case strings.Contains(err.Error(), "no column"), strings.Contains(err.Error(), "no such column"):
		return "undefined_column"
	}
	return "internal_error"
}

// describePostgresError returns the condition's name and the SQLSTATE. It omits the server's texts, which can quote
// statements and values.
func describePostgresError(err *pq.Error) string {
	if name := conditionName(err); name != "" {
		return "database error " + name + " (" + string(err.Code) + ")"
	}
	return "database error " + string(err.Code)
}

// describeSQLiteError returns the condition's name and the name of SQLite's result code.
func describeSQLiteError(err *sqlite.Error) string {
	return "database error " + conditionName(err) + " (" + sqliteCodeName(err.Code()&0xff) + ")"
}

// sqliteCodeName returns SQLite's name of a result code, or its number.
func sqliteCodeName(code int) string {
	text := sqlite.ErrorCodeString[code]
	if i := strings.LastIndexByte(text, '('); i >= 0 {
		return strings.TrimSuffix(text[i+1:], ")")
	}
	return strconv.Itoa(code)
}
