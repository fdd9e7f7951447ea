package store

import "time"

// dialect is the difference between the databases.
type dialect struct {
	name string
	// isPostgres selects the statements for PostgreSQL. There a round trip is expensive, so a heartbeat and a registration
	// are one statement each. SQLite runs in this process and has one writer, so its operations are several statements.
	isPostgres bool

	// nowSQL is the database's clock, and statementNowSQL its time at the start of the statement.
	nowSQL          string
	statementNowSQL string
	// lockRowSQL and selectSkipLockedSQL follow a SELECT that locks the rows that it reads. Both are empty over SQLite.
	lockRowSQL          string
	selectSkipLockedSQL string
	// pruneLockSQL tries to take the lock that allows only one replica to prune; empty over SQLite.
	pruneLockSQL string
	// lockRegionSQL makes the drains in one region wait for each other; empty over SQLite.
	lockRegionSQL string
	// openWritersSQL lists the transactions that can still commit transitions. It is empty over SQLite, which commits
	// transitions in the order of their ids.
	openWritersSQL string

	// bind converts a time to a value that can be compared with a column of times.
	bind func(time.Time) any
	// translateError separates unavailability and rejected values from programming errors.
	translateError func(error) error
	// isRetryable reports whether the database aborted a transaction that can succeed when it is tried again.
	isRetryable func(error) bool
}
