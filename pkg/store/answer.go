package store

import (
	"strconv"
	"strings"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// postgresAnswer is what PostgreSQL answered, for people: the condition's name and the SQLSTATE. The server's texts stay
// out: they can quote statements and values.
func postgresAnswer(err *pq.Error) string {
	name := err.Code.Name()
	if name == "" {
		return "database answered " + string(err.Code)
	}
	return "database answered " + name + " (" + string(err.Code) + ")"
}

// sqliteConditions are the conditions of SQLite that have a name in PostgreSQL's manual, which people know from there.
var sqliteConditions = map[int]string{
	sqlitelib.SQLITE_BUSY:     "lock_not_available",
	sqlitelib.SQLITE_LOCKED:   "lock_not_available",
	sqlitelib.SQLITE_FULL:     "disk_full",
	sqlitelib.SQLITE_READONLY: "read_only_sql_transaction",
	sqlitelib.SQLITE_IOERR:    "io_error",
	sqlitelib.SQLITE_CANTOPEN: "undefined_file",
	sqlitelib.SQLITE_CORRUPT:  "data_corrupted",
	sqlitelib.SQLITE_NOTADB:   "data_corrupted",
	sqlitelib.SQLITE_PROTOCOL: "protocol_violation",
}

// sqliteAnswer is the same of SQLite: the condition's name, where it has one, and SQLite's own.
func sqliteAnswer(err *sqlite.Error) string {
	primary := err.Code() & 0xff
	own := sqliteName(primary)
	condition := sqliteConditions[primary]
	if primary == sqlitelib.SQLITE_ERROR {
		switch text := err.Error(); {
		case strings.Contains(text, "no such table"):
			condition = "undefined_table"
		case strings.Contains(text, "no such column"), strings.Contains(text, "has no column"):
			condition = "undefined_column"
		}
	}
	if condition == "" {
		return "database answered " + own
	}
	return "database answered " + condition + " (" + own + ")"
}

// sqliteName is SQLite's name of a result code, or its number.
func sqliteName(code int) string {
	text := sqlite.ErrorCodeString[code]
	if i := strings.LastIndexByte(text, '('); i >= 0 {
		return strings.TrimSuffix(text[i+1:], ")")
	}
	return strconv.Itoa(code)
}
