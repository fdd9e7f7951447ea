package fleetsim

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite" // registers "sqlite"
)

// A slow SQLite file is locked for a part of each period.
const (
	lockDuration = 150 * time.Millisecond
	lockPeriod   = 250 * time.Millisecond
)

// sqliteStore is a file. Its faults are a write lock that another connection holds.
type sqliteStore struct {
	path    string
	db      *sqlx.DB
	unlock  context.CancelFunc // nil while there is no fault
	locking sync.WaitGroup
}

func newSQLiteStore(folder string) (*sqliteStore, error) {
	path := filepath.Join(folder, "simulated.db")
	// The connection opens when it is first used. By then the Global Controller has created the file.
	db, err := sqlx.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(1)
	return &sqliteStore{path: path, db: db}, nil
}

func (s *sqliteStore) URL() string { return "sqlite:" + s.path }

func (*sqliteStore) DescribeFailure() string { return "SQLite: another process holds the write lock" }

func (*sqliteStore) DescribeSlowness() string {
	return fmt.Sprintf("SQLite: another process holds the write lock for %v of each %v", lockDuration, lockPeriod)
}

func (s *sqliteStore) Fail() error {
	return s.startLocking(func(ctx context.Context) { <-ctx.Done() })
}

func (s *sqliteStore) SlowDown() error {
	return s.startLocking(func(ctx context.Context) { pause(ctx, lockDuration) })
}

// startLocking takes the write lock again and again until Restore, each time for as long as hold takes. It returns when it
// has the lock for the first time.
func (s *sqliteStore) startLocking(hold func(context.Context)) error {
	ctx, cancel := context.WithCancel(context.Background())
	s.unlock = cancel
	firstResult := make(chan error, 1)
	reportFirst := func(err error) {
		select {
		case firstResult <- err:
		default:
		}
	}

	s.locking.Go(func() {
		for ctx.Err() == nil {
			err := s.withWriteLock(func() {
				reportFirst(nil)
				hold(ctx)
			})
			reportFirst(err)
			pause(ctx, lockPeriod-lockDuration)
		}
	})
	return <-firstResult
}

// withWriteLock calls work while it holds the lock. Its statements do not use a context that can end: sqlx would close the
// connection then, which would release the lock too early.
func (s *sqliteStore) withWriteLock(work func()) error {
	ctx := context.Background()
	conn, err := s.db.Connx(ctx)
	if err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	defer func() { _ = conn.Close() }()

	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	work()
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		return fmt.Errorf("unlock the database: %w", err)
	}
	return nil
}

func (s *sqliteStore) Restore() error {
	if s.unlock != nil {
		s.unlock()
		s.locking.Wait()
		s.unlock = nil
	}
	return nil
}

func (s *sqliteStore) Close() error { return errors.Join(s.Restore(), s.db.Close()) }
