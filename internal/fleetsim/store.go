package fleetsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite" // registers "sqlite"

	"darktower.example/global-controller/internal/pgserver"
)

// slowBy is how much later everything between the Global Controller and a slow PostgreSQL arrives, each way.
const slowBy = 50 * time.Millisecond

// A slow SQLite file is locked for a part of each period.
const (
	lockedFor  = 150 * time.Millisecond
	lockPeriod = 250 * time.Millisecond
)

// store is a Global Controller's store that can be taken away from it. Its methods are for one goroutine.
type store interface {
	// URL is what the Global Controller is told.
	URL() string
	// Fail makes every write fail until Heal.
	Fail() error
	// Slow makes every write slow until Heal.
	Slow() error
	Heal() error
	Close() error
	// HowFails and HowSlow say in words what Fail and Slow do.
	HowFails() string
	HowSlow() string
}

// sqliteStore is a file. A lock that another connection holds is what takes it away.
type sqliteStore struct {
	path string
	db   *sqlx.DB
	end  context.CancelFunc // ends the lock, nil while there is none
	done sync.WaitGroup
}

func newSQLiteStore(folder string) (*sqliteStore, error) {
	path := filepath.Join(folder, "simulated.db")
	// Opened when it is first needed, by when the Global Controller has made it.
	db, err := sqlx.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(1)
	return &sqliteStore{path: path, db: db}, nil
}

func (s *sqliteStore) URL() string { return "sqlite:" + s.path }

func (*sqliteStore) HowFails() string { return "SQLite: another process holds the write lock" }

func (*sqliteStore) HowSlow() string {
	return fmt.Sprintf("SQLite: another process holds the write lock for %v of each %v", lockedFor, lockPeriod)
}

func (s *sqliteStore) Fail() error {
	return s.hold(func(ctx context.Context) { <-ctx.Done() })
}

func (s *sqliteStore) Slow() error {
	return s.hold(func(ctx context.Context) { pause(ctx, lockedFor) })
}

// hold takes the write lock, for as long as work takes, again and again until Heal. It returns when it has it.
func (s *sqliteStore) hold(work func(context.Context)) error {
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	first := make(chan error, 1)
	s.done.Go(func() {
		for ctx.Err() == nil {
			err := s.locked(func() {
				select {
				case first <- nil:
				default:
				}
				work(ctx)
			})
			select {
			case first <- err:
			default:
			}
			pause(ctx, lockPeriod-lockedFor)
		}
	})
	return <-first
}

// locked works while it holds the lock. The context of the statements is one that does not end: it would close the
// connection, and with it the lock, before the work is done.
func (s *sqliteStore) locked(work func()) error {
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

func (s *sqliteStore) Heal() error {
	if s.end != nil {
		s.end()
		s.done.Wait()
		s.end = nil
	}
	return nil
}

func (s *sqliteStore) Close() error { return errors.Join(s.Heal(), s.db.Close()) }

// postgresStore is a database, reached through a proxy that takes it away.
type postgresStore struct {
	url     string
	proxy   *Proxy
	closers []func() error // in the order in which they are called
}

// newPostgresStore makes a database at the server that admin is the address of, or starts a server when it is empty.
func newPostgresStore(admin string) (_ *postgresStore, err error) {
	s := &postgresStore{}
	made := s
	defer func() {
		if err != nil {
			err = errors.Join(err, made.Close())
		}
	}()
	if admin == "" {
		cluster, err := pgserver.NewCluster()
		if err != nil {
			return nil, fmt.Errorf("start a PostgreSQL (or give the address of one with --database): %w", err)
		}
		s.closers = append(s.closers, cluster.Close)
		admin = cluster.URL()
	}
	address, drop, err := pgserver.NewDatabase(admin, "simulate_")
	if err != nil {
		return nil, err
	}
	s.closers = append([]func() error{drop}, s.closers...)
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("the address of the database must name a host")
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	if s.proxy, err = NewProxy(net.JoinHostPort(u.Hostname(), port)); err != nil {
		return nil, err
	}
	s.closers = append([]func() error{s.proxy.Close}, s.closers...)
	u.Host = s.proxy.Address()
	s.url = u.String()
	return s, nil
}

func (s *postgresStore) URL() string { return s.url }

func (*postgresStore) HowFails() string {
	return "PostgreSQL: a proxy cuts the connections and takes no new ones"
}

func (*postgresStore) HowSlow() string {
	return fmt.Sprintf("PostgreSQL: through a proxy everything arrives %v later, each way", slowBy)
}

func (s *postgresStore) Fail() error { s.proxy.Cut(); return nil }
func (s *postgresStore) Slow() error { s.proxy.Delay(slowBy); return nil }

func (s *postgresStore) Heal() error {
	s.proxy.Mend()
	s.proxy.Delay(0)
	return nil
}

func (s *postgresStore) Close() error {
	var errs []error
	for _, closer := range s.closers {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

// pause waits, and tells whether the time passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
