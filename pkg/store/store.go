// Package store keeps the fleet in PostgreSQL or in an embedded SQLite file.
package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// defaultTimeout holds where [Config] sets none.
const defaultTimeout = 5 * time.Second

// Config says which store to open and how it is bounded.
type Config struct {
	// URL is "postgres://…", "postgresql://…" or "sqlite:PATH".
	URL string
	// MaxConns is how many connections to PostgreSQL there are at most, [MinConnections] at the least; 0 stands for
	// [DefaultConnections]. There are no more than 9 until [Store.ShareConnections] has found room for them. SQLite has
	// one that writes and four that read.
	MaxConns int
	// Timeout bounds each operation, the wait for a connection included, and is the statement timeout that PostgreSQL
	// is given unless the URL sets one. 0 stands for 5 s.
	Timeout time.Duration
	// OnQuery is called for every operation: register, heartbeat, conflict, drain, undrain, deregister, known, owned, controller,
	// controllers, transitions, regions, retain, beat, replicas, tick, changes, announce, share, schema or ping; status is ok or error
	// (an answer such as that there is no such controller is ok). It must not block. It may be nil.
	OnQuery func(operation, status string, took time.Duration)
	// OnBatch is told of each commit of heartbeats: how many they were and how long it took. It may be nil.
	OnBatch func(heartbeats int, took time.Duration)
	// Unbatched gives each heartbeat a statement and a commit of its own. It is there to be compared with.
	Unbatched bool
	// FastInterval and StalenessThreshold are the settings of this replica; they are stored with the controllers that register.
	// 0: they are not kept.
	FastInterval       time.Duration
	StalenessThreshold time.Duration
	// Clock stands for the database's own clock, to the millisecond, and is there for simulations: what is committed then
	// is not forced to the disk. SQLite only; nil is the database's clock.
	Clock func() time.Time
}

// Store is the storage of the service, its health checker and its metrics. Every method is safe for concurrent use.
type Store struct {
	dialect dialect
	// write is where everything happens that changes something; on SQLite that is one connection.
	write *sqlx.DB
	read  *sqlx.DB
	// checker is for the health checker, which must not wait behind a crowd of other calls.
	checker *sqlx.DB
	// watch is for watches, which must neither wait behind a crowd of other calls nor be one.
	watch         *sqlx.DB
	announcements *announcements
	// listen tells announcements what other processes announce until its context ends; nil where there are none.
	listen func(context.Context)
	// servers is PostgreSQL's only.
	servers *cluster
	// most is the limit of connections that was set, and limit the one that holds now.
	most  int
	limit atomic.Int64
	// url is kept for Migrate, which opens connections of its own.
	url     string
	timeout time.Duration
	onQuery func(operation, status string, took time.Duration)
	batches *batches
	// sweepChunk is how many controllers a chunk of a sweep marks at most.
	sweepChunk atomic.Int64
	// conflicts are those that are not written yet.
	conflicts conflictCounts
	// register is PostgreSQL's only.
	register prepared
	// registrations is for a database with one writer.
	registrations *gatherer[registering, service.RegisterResult]
	// heartbeat is PostgreSQL's only.
	heartbeat heartbeatPath
	batched   func(heartbeats int, took time.Duration)
	// given is stored with the controllers that register.
	given     givenPolicy
	watermark historyWatermark
	// unbatched is for comparisons.
	unbatched bool
}

var (
	_ service.Store        = (*Store)(nil)
	_ service.ReplicaStore = (*Store)(nil)
	_ service.Sweeper      = (*Store)(nil)
	_ service.RegionReader = (*Store)(nil)
	_ service.Pruner       = (*Store)(nil)

	_ service.ChangeSource = (*Store)(nil)
)

// dialect is what differs between the databases.
type dialect struct {
	name string
	// now is the database's clock.
	now string
	// statementNow is its time when a statement began.
	statementNow string
	// lockRow and skipLocked follow a SELECT that locks what it reads.
	lockRow, skipLocked string
	// skipBusy has a batch of heartbeats pass over rows that somebody else is writing; empty where nobody can be.
	skipBusy string
	// oneKeeper tells whether nobody else is removing old records, and keeps others from it; empty where all that is written
	// follows each other.
	oneKeeper string
	// lockRegion has the drains in one region follow each other; empty where all that is written does.
	lockRegion string
	// lockTable proves that heartbeats could be committed; empty where a transaction is proof enough.
	lockTable string
	// writers lists the transactions that may yet commit changes of public state; empty where those are committed in the
	// order of their ids.
	writers string
	// oneStatement is true where a round trip is dear, so that a heartbeat and a registration are one statement each.
	oneStatement bool
	// bind turns a time into what a column of times is compared with.
	bind func(time.Time) any
	// translate tells trouble of the database from mistakes of ours.
	translate func(error) error
	// retryable tells whether the database gave up on a transaction that may well succeed the next time.
	retryable func(error) bool
}

// Open returns the store at url with the usual bounds: [New] with nothing but the URL.
func Open(url string) (*Store, error) { return New(Config{URL: url}) }

// New returns the store that cfg names; it does not migrate. It does not connect to PostgreSQL yet, so that a service
// can start before its database does; an SQLite file is created, with its folder, when it is missing. The error names
// what is wrong with the URL and never quotes its password.
func New(cfg Config) (*Store, error) {
	if cfg.MaxConns < 0 || cfg.Timeout < 0 {
		return nil, errors.New("the bounds of the store cannot be negative")
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultConnections
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	s := &Store{
		url:       cfg.URL,
		timeout:   cfg.Timeout,
		onQuery:   cfg.OnQuery,
		given:     givenPolicyOf(cfg),
		batched:   cfg.OnBatch,
		unbatched: cfg.Unbatched,
	}
	s.batches = newBatches(s)
	s.sweepChunk.Store(firstChunk)
	s.announcements = newAnnouncements()
	s.registrations = &gatherer[registering, service.RegisterResult]{work: s.registerTogether, most: registerAtOnce}
	if s.batched == nil {
		s.batched = func(int, time.Duration) {}
	}
	var err error
	if path, isSQLite := strings.CutPrefix(cfg.URL, sqliteScheme); isSQLite {
		err = s.openSQLite(path, cfg.Clock)
	} else if cfg.Clock != nil {
		err = errors.New("only SQLite can be given a clock")
	} else {
		err = s.openPostgres(cfg)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// PoolStats describes the connections, all pools added up.
func (s *Store) PoolStats() (all sql.DBStats) {
	for _, db := range s.pools() {
		one := db.Stats()
		all.MaxOpenConnections += one.MaxOpenConnections
		all.OpenConnections += one.OpenConnections
		all.InUse += one.InUse
		all.Idle += one.Idle
		all.WaitCount += one.WaitCount
		all.WaitDuration += one.WaitDuration
	}
	return all
}

// pools returns each of the pools once.
func (s *Store) pools() (pools []*sqlx.DB) {
	for _, db := range []*sqlx.DB{s.read, s.write, s.checker, s.watch, s.heartbeat.db} {
		if db != nil && !slices.Contains(pools, db) {
			pools = append(pools, db)
		}
	}
	return pools
}

// Close closes every connection. What is called afterwards returns [service.ErrUnavailable].
func (s *Store) Close() error {
	s.registrations.settle(s.timeout)
	// Counts that cannot be written now are lost: they are informational.
	_ = s.WriteConflicts(context.Background())
	var errs []error
	for _, db := range s.pools() {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
