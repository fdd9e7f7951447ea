package store

import (
	"errors"
	"strings"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"darktower.example/global-controller/service"
)

// withCondition adds the name of the condition that the database reported to what the error was translated to.
func withCondition(reported, translated error) error {
	if name := conditionName(reported); name != "" {
		return &service.ConditionError{Name: name, Err: translated}
	}
	return translated
}

// conditionName names the condition that a database reports, in one word that quotes nothing: as PostgreSQL's manual lists
// them. It is empty where the error is not the database's.
func conditionName(err error) string {
	var server *pq.Error
	switch {
	case errors.Is(err, errReadOnlyServer):
		return "read_only_sql_transaction"
	case errors.As(err, &server):
		return server.Code.Name()
	}

	if errors.Is(err, errReadOnlyServer) {
		return "read_only_sql_transaction"
	}

	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return ""
	}
	switch lite.Code() & 0xff {
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
	case strings.Contains(lite.Error(), "no such table"):
		return "undefined_table"
	case strings.Contains(lite.Error(), "no column"), strings.Contains(lite.Error(), "no such column"):
		return "undefined_column"
	}
	return "internal_error"
}
