package store

import (
	"strconv"
	"strings"

	"github.com/lib/pq"
	"modernc.org/sqlite"
)

// postgresAnswer is what PostgreSQL answered, for people: the condition's name and the SQLSTATE. The server's texts stay
// out: they can quote statements and values.
func postgresAnswer(err *pq.Error) string {
	if name := conditionName(err); name != "" {
		return "database answered " + name + " (" + string(err.Code) + ")"
	}
	return "database answered " + string(err.Code)
}

// sqliteAnswer is the same of SQLite: the condition's name and that of SQLite's result code.
func sqliteAnswer(err *sqlite.Error) string {
	return "database answered " + conditionName(err) + " (" + sqliteName(err.Code()&0xff) + ")"
}

// sqliteName is SQLite's name of a result code, or its number.
func sqliteName(code int) string {
	text := sqlite.ErrorCodeString[code]
	if i := strings.LastIndexByte(text, '('); i >= 0 {
		return strings.TrimSuffix(text[i+1:], ")")
	}
	return strconv.Itoa(code)
}
