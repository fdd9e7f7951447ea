package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

// clockedDriver opens SQLite databases to which another clock stands for their own. It is no registered driver, so that
// no other database is told a time that is not.
type clockedDriver struct {
	sqlite *sqlite.Driver
	source string
}

// openClocked opens a database by clock. Statements, triggers and defaults all ask SQLite's function for the time, so
// that is what is replaced.
func openClocked(source string, clock func() time.Time) (*sqlx.DB, error) {
	own := clockedDriver{&sqlite.Driver{}, source}
	// Half a millisecond more, so that rounding down what is no whole number in binary gives the millisecond meant.
	seconds := func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
		return (float64(clock().UnixMilli()) + 0.5) / 1000, nil
	}
	if err := own.sqlite.RegisterScalarFunction("unixepoch", 1, seconds); err != nil {
		return nil, err
	}
	return sqlx.NewDb(sql.OpenDB(own), "sqlite"), nil
}

// Connect implements [driver.Connector].
func (d clockedDriver) Connect(context.Context) (driver.Conn, error) { return d.sqlite.Open(d.source) }

// Driver implements [driver.Connector].
func (d clockedDriver) Driver() driver.Driver { return d.sqlite }
