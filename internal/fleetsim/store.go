package fleetsim

// store is the store of a Global Controller, with faults that a scenario can switch on. Its methods are for one goroutine.
type store interface {
	// URL is for the Global Controller's setting DATABASE_URL.
	URL() string
	// Fail makes every write fail until Restore.
	Fail() error
	// SlowDown makes every write slow until Restore.
	SlowDown() error
	Restore() error
	Close() error
	// DescribeFailure and DescribeSlowness return a sentence for the verdict about what Fail and SlowDown do.
	DescribeFailure() string
	DescribeSlowness() string
}

// newStore creates an SQLite file in a folder, or a PostgreSQL database.
func newStore(opts Options, folder string) (store, error) {
	if opts.Store != "postgres" {
		s, err := newSQLiteStore(folder)
		if err != nil {
			return nil, err // A nil *sqliteStore in the interface would not compare equal to nil.
		}
		return s, nil
	}

	s, err := newPostgresStore(opts.Database)
	if err != nil {
		return nil, err
	}
	return s, nil
}
