// Package store stores the fleet in PostgreSQL or in an SQLite file.
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

// defaultTimeout is the default of [Config].Timeout.
const defaultTimeout = 5 * time.Second

// Config selects the database and sets the limits of a [Store].
type Config struct {
	// URL is "postgres://…", "postgresql://…" or "sqlite:PATH".
	URL string
	// MaxConns is the maximum number of connections to PostgreSQL, at least [MinConnections]; 0 means [DefaultConnections].
	// The limit is 9 until [Store.ShareConnections] finds room for more. SQLite has one connection that writes and four
	// that read.
	MaxConns int
	// Timeout limits each operation, including the wait for a connection. It is also PostgreSQL's statement timeout, unless
	// the URL sets that. 0 means 5 s.
	Timeout time.Duration
	// OnQuery is called after every operation. Operation is register, heartbeat, conflict, drain, undrain, deregister,
	// known, owned, controller, controllers, transitions, regions, retain, beat, replicas, tick, changes, announce, share,
	// schema, ping, reserve, confirm, release, end_assignment, assignment, assignments or assigned_loads. Status is ok or error; a
	// result about a controller or a meeting, such as not registered, is ok. OnQuery must not block. It may be nil.
	OnQuery func(operation, status string, took time.Duration)
	// OnBatch is called after each commit of heartbeats with their number and the duration. It may be nil.
	OnBatch func(heartbeats int, took time.Duration)
	// Unbatched commits each heartbeat by a statement of its own. Benchmarks compare it with batches.
	Unbatched bool
	// FastInterval and StalenessThreshold are the settings of this replica. They are stored with the controllers that
	// register; 0 means that they are not stored.
	FastInterval       time.Duration
	StalenessThreshold time.Duration
	// Clock replaces the database's clock, to the millisecond; nil means the database's clock. It is for tests: commits are
	// then not forced to the disk. SQLite only.
	Clock func() time.Time
}

// Store is the storage of the service, the health checker and the metrics. Every method is safe for concurrent use.
type Store struct {
	dialect dialect
	// writeDB runs every operation that changes data. Over SQLite it is one connection.
	writeDB *sqlx.DB
	readDB  *sqlx.DB
	// checkerDB is for the health checker, which must not wait behind a burst of other calls.
	checkerDB *sqlx.DB
	// watchDB is for watches. They must not wait behind a burst of other calls, nor delay other calls.
	watchDB *sqlx.DB

	announcer *announcer
	// listenRemote delivers the announcements of other processes until its context ends; nil over SQLite.
	listenRemote func(context.Context)

	// serverGroup is nil over SQLite.
	serverGroup *serverGroup
	// maxConnections is the configured limit of connections, and connectionLimit the current one.
	maxConnections  int
	connectionLimit atomic.Int64

	// url is for Migrate, which opens separate connections.
	url     string
	timeout time.Duration
	onQuery func(operation, status string, took time.Duration)
	onBatch func(heartbeats int, took time.Duration)

	// heartbeat is for PostgreSQL only.
	heartbeat        heartbeatStatements
	heartbeatBatcher *heartbeatBatcher
	isUnbatched      bool

	// registerStatement is for PostgreSQL only, and registrations for SQLite only.
	registerStatement preparedStatement
	registrations     *callBatcher[registrationCall, service.RegisterResult]

	// The statements are for PostgreSQL only.
	reserveStatement preparedStatement
	confirmStatement preparedStatement
	reservations     *callBatcher[service.Reservation, reserveOutcome]
	confirmations    *callBatcher[service.Confirmation, bool]

	// policy is stored with the controllers that register.
	policy heartbeatPolicy

	// conflicts are the ones that are not written yet.
	conflicts conflictCounts
	// sweepChunk is the maximum number of controllers that a chunk of a sweep marks.
	sweepChunk atomic.Int64
	watermark  historyWatermark
}

var (
	_ service.Store        = (*Store)(nil)
	_ service.ReplicaStore = (*Store)(nil)
	_ service.Sweeper      = (*Store)(nil)
	_ service.RegionReader = (*Store)(nil)
	_ service.Pruner       = (*Store)(nil)

	_ service.ChangeSource = (*Store)(nil)

	_ service.AssignmentStore = (*Store)(nil)
)

// Open returns the store at url with the default limits.
func Open(url string) (*Store, error) { return New(Config{URL: url}) }

// New returns the store that cfg selects; it does not migrate. It does not connect to PostgreSQL yet, so that the
// Global Controller can start before its database. A missing SQLite file is created, with its folder. The error says
// what is wrong with the URL and never quotes its password.
func New(cfg Config) (*Store, error) {
	if cfg.MaxConns < 0 || cfg.Timeout < 0 {
		return nil, errors.New("store limits must not be negative")
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultConnections
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.OnBatch == nil {
		cfg.OnBatch = func(int, time.Duration) {}
	}

	s := &Store{
		url:         cfg.URL,
		timeout:     cfg.Timeout,
		onQuery:     cfg.OnQuery,
		onBatch:     cfg.OnBatch,
		policy:      newHeartbeatPolicy(cfg),
		isUnbatched: cfg.Unbatched,
		announcer:   newAnnouncer(),
	}
	s.heartbeatBatcher = newHeartbeatBatcher(s)
	s.registrations = &callBatcher[registrationCall, service.RegisterResult]{commit: s.registerBatch, maxBatch: maxRegisterBatch}
	s.reservations = &callBatcher[service.Reservation, reserveOutcome]{commit: s.reserveBatch, maxBatch: maxAssignmentBatch}
	s.confirmations = &callBatcher[service.Confirmation, bool]{commit: s.confirmBatch, maxBatch: maxAssignmentBatch}
	s.sweepChunk.Store(firstChunk)

	var err error
	if path, isSQLite := strings.CutPrefix(cfg.URL, sqliteScheme); isSQLite {
		err = s.openSQLite(path, cfg.Clock)
	} else if cfg.Clock != nil {
		err = errors.New("a clock can be set for SQLite only")
	} else {
		err = s.openPostgres(cfg)
	}
	if err != nil {
		return nil, err
	}

	return s, nil
}

// PoolStats returns the sum of the statistics of all connection pools.
func (s *Store) PoolStats() (sum sql.DBStats) {
	for _, db := range s.pools() {
		stats := db.Stats()
		sum.MaxOpenConnections += stats.MaxOpenConnections
		sum.OpenConnections += stats.OpenConnections
		sum.InUse += stats.InUse
		sum.Idle += stats.Idle
		sum.WaitCount += stats.WaitCount
		sum.WaitDuration += stats.WaitDuration
	}
	return sum
}

// pools returns each connection pool once.
func (s *Store) pools() (pools []*sqlx.DB) {
	for _, db := range []*sqlx.DB{s.readDB, s.writeDB, s.checkerDB, s.watchDB, s.heartbeat.db} {
		if db != nil && !slices.Contains(pools, db) {
			pools = append(pools, db)
		}
	}
	return pools
}

// Close closes every connection. Later calls return [service.ErrUnavailable].
func (s *Store) Close() error {
	s.registrations.waitForCommits(s.timeout)
	s.reservations.waitForCommits(s.timeout)
	s.confirmations.waitForCommits(s.timeout)
	// Counts that cannot be written now are lost: they are informational.
	_ = s.WriteConflicts(context.Background())

	var errs []error
	for _, db := range s.pools() {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
