package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

// clockedDriver opens SQLite databases with another clock. It is not a registered driver, so that no other database uses
// the clock.
type clockedDriver struct {
	sqlite *sqlite.Driver
	source string
}

// openSQLiteWithClock opens a database with a clock. Statements, triggers and defaults all read the time by SQLite's
// function unixepoch, so that function is replaced.
func openSQLiteWithClock(source string, clock func() time.Time) (*sqlx.DB, error) {
	own := clockedDriver{sqlite: &sqlite.Driver{}, source: source}

	// Half a millisecond is added, so that rounding down a fraction that is inexact in binary yields the exact millisecond.
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
