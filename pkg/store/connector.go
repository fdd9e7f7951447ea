package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const (
	// readGrace is how much longer than a statement may take a connection is read from before it is given up.
	readGrace = time.Second
	// nextServerAfter is how long the next server of an address is not tried while one before it has not answered.
	nextServerAfter = 300 * time.Millisecond
	// A connection is used for at least connectionLife and at most half as long again, so that one to a server that has
	// lost its address ends, and so that not all of them end at once.
	connectionLife = 15 * time.Minute
)

// errReadOnlyServer is returned for a standby, or for a server that is configured to refuse writes.
var errReadOnlyServer = errors.New("server is read-only")

// cluster is the servers of a database's address, and what the pools of one store have found out about them.
type cluster struct {
	address postgresAddress
	timeout time.Duration
	// preferred is the server that accepted the last connection.
	preferred atomic.Int32
	// pooler is set when start-up parameters do not reach the server: a pooler is between.
	pooler atomic.Bool
	// distrusted is when a connection last turned out to lead to the wrong server, or to one that does not answer, in
	// nanoseconds since began. Connections that were made earlier are not used again.
	distrusted atomic.Int64
	began      time.Time
}

func newCluster(address string, timeout time.Duration) (*cluster, error) {
	parsed, err := parsePostgres(address)
	if err != nil {
		return nil, err
	}
	return &cluster{address: parsed, timeout: timeout, began: time.Now()}, nil
}

// distrust closes every connection made until now once it is free.
func (c *cluster) distrust() { c.distrusted.Store(int64(time.Since(c.began))) }

// order lists the servers, the preferred one first.
func (c *cluster) order(servers int) []int {
	order := make([]int, 0, servers)
	first := int(c.preferred.Load())
	order = append(order, first)
	for i := range servers {
		if i != first {
			order = append(order, i)
		}
	}
	return order
}

// setting is a parameter of a session, in the server's notation.
type setting struct{ name, value string }

// connector makes the connections of one pool. It tries the servers one after the other, so closely that several fit
// into the bound of an operation, and takes the first that accepts writes.
type connector struct {
	cluster *cluster
	// direct gives the settings as parameters of the start; pooled leaves out what poolers refuse. One for each server.
	direct, pooled []pq.Config
	// settings are set in each transaction where a pooler is between; autocommit is false where statements outside of a
	// transaction get none, as some of a migration must not be part of one.
	settings   []setting
	autocommit bool
	// writable is false if the address selects the servers itself.
	writable bool
}

const (
	isolationSetting = "default_transaction_isolation"
	// markSetting is set to another value at the start of each connection. Where it is not found afterwards, a pooler is
	// between, whichever settings it ignores or passes on.
	markSetting = "gc.connection"
)

func (c *cluster) connector(settings []setting, autocommit bool) (*connector, error) {
	made := &connector{cluster: c, autocommit: autocommit, writable: !c.address.isSet("target_session_attrs")}
	for _, s := range settings {
		// Isolation is no matter of taste: drains rely on it.
		if value, isSet := c.address.parameter(s.name); isSet && s.name != isolationSetting {
			s.value = value
		}
		made.settings = append(made.settings, s)
	}

	for _, source := range c.address.sources(nil) {
		cfg, err := c.parse(source)
		if err != nil {
			return nil, err
		}
		direct, pooled := cfg.Clone(), cfg.Clone()
		for name, value := range cfg.Runtime {
			if isPoolerParameter(name) {
				continue
			}
			delete(pooled.Runtime, name)
			if !slices.ContainsFunc(made.settings, func(s setting) bool { return strings.EqualFold(s.name, name) }) {
				made.settings = append(made.settings, setting{name, value})
			}
			delete(direct.Runtime, name)
		}
		for _, s := range made.settings {
			direct.Runtime[s.name] = s.value
		}
		made.direct, made.pooled = append(made.direct, direct), append(made.pooled, pooled)
	}

	return made, nil
}

// isPoolerParameter reports whether a parameter of the start is one that poolers pass on.
func isPoolerParameter(name string) bool {
	return slices.Contains([]string{"timezone", "client_encoding", "datestyle", "application_name"}, strings.ToLower(name))
}

// parse parses an address with the driver.
func (c *cluster) parse(source string) (pq.Config, error) {
	cfg, err := pq.NewConfig(source)
	if err == nil {
		return cfg, nil
	}
	// The errors of the parser can quote the password, so they are passed on only where they cannot.
	if password, _ := c.address.url.User.Password(); password != "" || c.address.isSet("password") {
		return pq.Config{}, errors.New("the address of the database is not understood")
	}
	return pq.Config{}, fmt.Errorf("the address of the database is not understood: %w", err)
}

// pool opens up to size connections, when they are needed.
func (c *cluster) pool(settings []setting, size int) (*sqlx.DB, error) {
	made, err := c.connector(settings, true)
	if err != nil {
		return nil, err
	}
	db := sqlx.NewDb(sql.OpenDB(made), "postgres")
	db.SetMaxOpenConns(size)
	// As many idle as open: heartbeats arrive all the time, and a new connection costs more than a heartbeat.
	db.SetMaxIdleConns(size)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

// Driver implements [driver.Connector].
func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// connectTo makes a connection to one server and checks it, within ctx.
func (c *connector) connectTo(ctx context.Context, server int) (driver.Conn, error) {
	if c.cluster.pooler.Load() {
		return c.open(ctx, c.pooled[server], true)
	}
	conn, err := c.open(ctx, c.direct[server], false)
	if errors.Is(err, errPooler) || refusesParameters(err) {
		c.cluster.pooler.Store(true)
		return c.open(ctx, c.pooled[server], true)
	}
	return conn, err
}

// errPooler means that the start-up parameters did not reach the server.
var errPooler = errors.New("start-up parameters were ignored")

// refusesParameters recognizes what PgBouncer answers to a parameter that it cannot pass on.
func refusesParameters(err error) bool {
	var server *pq.Error
	return errors.As(err, &server) && server.Code == "08P01" && strings.Contains(server.Message, "startup parameter")
}

func (c *connector) open(ctx context.Context, cfg pq.Config, pooled bool) (driver.Conn, error) {
	mark := ""
	if !pooled {
		mark, cfg = rand.Text(), cfg.Clone()
		cfg.Runtime[markSetting] = mark
	}

	made, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}

	handshake := &handshake{ctx: ctx}
	made.Dialer(dialer{limit: c.cluster.timeout + readGrace, handshake: handshake})
	conn, err := made.Connect(ctx)
	if err != nil {
		return nil, err
	}

	s, err := newSession(conn, c.cluster)
	if err == nil {
		err = c.inspect(ctx, s, mark)
	}
	if !handshake.end() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if pooled {
		s.useTransactionSettings(c.settings, c.autocommit)
	}

	return s, nil
}

// inspect asks a new connection, in one round trip, whether it accepts writes, and whether it leads to a session of its
// own: one that has the mark of its start. Empty: that is not asked.
func (c *connector) inspect(ctx context.Context, s *session, mark string) error {
	rows, err := s.inner.QueryContext(ctx, `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean,
		coalesce(current_setting('`+markSetting+`', true), '') = '`+mark+`'`, nil)
	if err != nil {
		return err
	}

	values := make([]driver.Value, 2)
	err = rows.Next(values)
	if err = errors.Join(err, rows.Close()); err != nil {
		return err
	}

	switch readOnly, isMarked := values[0] == true, values[1] == true; {
	case mark != "" && !isMarked:
		return errPooler
	case c.writable && readOnly:
		return errReadOnlyServer
	}

	return nil
}

// connectionEnd is when a connection made now is not used any more.
func connectionEnd(now time.Time) time.Time {
	return now.Add(connectionLife + mathrand.N(connectionLife/2)) //nolint:gosec // It only spreads the ends.
}
