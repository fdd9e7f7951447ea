package fleetsim

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"darktower.example/global-controller/internal/pgserver"
)

// slowStoreLatency is the delay in each direction between the Global Controller and a slow PostgreSQL.
const slowStoreLatency = 50 * time.Millisecond

// postgresStore is a database. Its faults are those of a proxy in front of it.
type postgresStore struct {
	url      string
	proxy    *Proxy
	cleanups []func() error // called in reverse order
}

// newPostgresStore creates a database on the server with the address. If the address is empty, it starts a temporary server.
func newPostgresStore(serverURL string) (*postgresStore, error) {
	s := &postgresStore{}
	if err := s.open(serverURL); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *postgresStore) open(serverURL string) error {
	if serverURL == "" {
		cluster, err := pgserver.NewCluster()
		if err != nil {
			return fmt.Errorf("start a PostgreSQL server (or use one that runs: --database URL): %w", err)
		}
		s.cleanups = append(s.cleanups, cluster.Close)
		serverURL = cluster.URL()
	}

	databaseURL, drop, err := pgserver.NewDatabase(serverURL, "simulate_")
	if err != nil {
		return err
	}
	s.cleanups = append(s.cleanups, drop)

	u, err := url.Parse(databaseURL)
	if err != nil || u.Hostname() == "" {
		return errors.New("the address of the database has no host: use postgres://USER@HOST:PORT/DATABASE")
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}

	if s.proxy, err = NewProxy(net.JoinHostPort(u.Hostname(), port)); err != nil {
		return err
	}
	s.cleanups = append(s.cleanups, s.proxy.Close)
	u.Host = s.proxy.Address()
	s.url = u.String()
	return nil
}

func (s *postgresStore) URL() string { return s.url }

func (*postgresStore) DescribeFailure() string {
	return "PostgreSQL: a proxy closes the connections and accepts no new ones"
}

func (*postgresStore) DescribeSlowness() string {
	return fmt.Sprintf("PostgreSQL: a proxy delays all data by %v in each direction", slowStoreLatency)
}

func (s *postgresStore) Fail() error {
	s.proxy.Cut()
	return nil
}

func (s *postgresStore) SlowDown() error {
	s.proxy.SetLatency(slowStoreLatency)
	return nil
}

func (s *postgresStore) Restore() error {
	s.proxy.Restore()
	s.proxy.SetLatency(0)
	return nil
}

func (s *postgresStore) Close() error {
	var errs []error
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		errs = append(errs, s.cleanups[i]())
	}
	return errors.Join(errs...)
}
