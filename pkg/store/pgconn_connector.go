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
	// readGrace is added to the timeout of a statement for the read deadline of a connection.
	readGrace = time.Second
	// nextServerAfter is how long a server of the address has to respond before the next one is tried, too.
	nextServerAfter = 300 * time.Millisecond
	// minConnectionLife is the minimum time that a connection is used; the maximum is half as long again. A connection to a
	// server that has lost its address ends by then. The times differ, so that not all connections end at once.
	minConnectionLife = 15 * time.Minute
)

// errReadOnlyServer is returned for a standby, or for a server that is configured to refuse writes.
var errReadOnlyServer = errors.New("server is read-only")

// serverGroup is the servers of a database's address, and their state as the pools of one store have found it.
type serverGroup struct {
	address postgresAddress
	timeout time.Duration
	// preferredServer is the server that accepted the last connection.
	preferredServer atomic.Int32
	// hasPooler is set if startup parameters do not reach the server: there is a pooler in front of it.
	hasPooler atomic.Bool
	// staleBefore is when a connection last turned out to lead to the wrong server, or to one that does not respond, in
	// nanoseconds since createdAt. Connections that were made earlier are not used again.
	staleBefore atomic.Int64
	createdAt   time.Time
}

func newServerGroup(address string, timeout time.Duration) (*serverGroup, error) {
	parsed, err := parsePostgresAddress(address)
	if err != nil {
		return nil, err
	}
	return &serverGroup{address: parsed, timeout: timeout, createdAt: time.Now()}, nil
}

// closeOlderConnections makes the pools close every connection that was made until now, when it is free.
func (g *serverGroup) closeOlderConnections() { g.staleBefore.Store(int64(time.Since(g.createdAt))) }

// orderServers returns the indexes of the servers, the preferred one first.
func (g *serverGroup) orderServers(servers int) []int {
	first := int(g.preferredServer.Load())
	order := append(make([]int, 0, servers), first)
	for i := range servers {
		if i != first {
			order = append(order, i)
		}
	}
	return order
}

// setting is a parameter of a session, in the server's notation.
type setting struct{ name, value string }

// connector makes the connections of one pool. It uses the first server that accepts writes. It tries the servers in
// such short intervals that several tries fit into the timeout of an operation.
type connector struct {
	serverGroup *serverGroup
	// direct has the settings as startup parameters, and pooled omits those that poolers reject. Both have one element for
	// each server.
	direct, pooled []pq.Config
	// settings are set in each transaction if there is a pooler.
	settings []setting
	// setsPerStatement is false if statements outside of a transaction get no settings. Some statements of a migration must
	// not be part of a transaction.
	setsPerStatement bool
	// needsWritable is false if the address selects the servers itself.
	needsWritable bool
}

const (
	isolationSetting = "default_transaction_isolation"
	// markSetting is set to a unique value at the start of each connection. If the connection does not have that value
	// afterwards, there is a pooler, whichever settings it ignores or passes on.
	markSetting = "gc.connection"
)

// newConnector returns a connector whose sessions have the settings. Parameters of the address replace settings.
func (g *serverGroup) newConnector(settings []setting, setsPerStatement bool) (*connector, error) {
	made := &connector{
		serverGroup:      g,
		setsPerStatement: setsPerStatement,
		needsWritable:    !g.address.isSet("target_session_attrs"),
	}
	for _, s := range settings {
		// The address cannot replace the isolation: drains rely on it.
		if value, isSet := g.address.parameter(s.name); isSet && s.name != isolationSetting {
			s.value = value
		}
		made.settings = append(made.settings, s)
	}

	for _, source := range g.address.sources(nil) {
		cfg, err := g.parseSource(source)
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
		made.direct = append(made.direct, direct)
		made.pooled = append(made.pooled, pooled)
	}

	return made, nil
}

// isPoolerParameter reports whether poolers pass a startup parameter on.
func isPoolerParameter(name string) bool {
	return slices.Contains([]string{"timezone", "client_encoding", "datestyle", "application_name"}, strings.ToLower(name))
}

// parseSource parses a data source with the driver.
func (g *serverGroup) parseSource(source string) (pq.Config, error) {
	cfg, err := pq.NewConfig(source)
	if err == nil {
		return cfg, nil
	}

	// The parser's error can quote the password, so it is passed on only if there is none.
	if password, _ := g.address.url.User.Password(); password != "" || g.address.isSet("password") {
		return pq.Config{}, errors.New("invalid database URL")
	}
	return pq.Config{}, fmt.Errorf("invalid database URL: %w", err)
}

// newPool returns a pool that opens up to size connections as they are needed.
func (g *serverGroup) newPool(settings []setting, size int) (*sqlx.DB, error) {
	made, err := g.newConnector(settings, true)
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
	if c.serverGroup.hasPooler.Load() {
		return c.open(ctx, c.pooled[server], true)
	}

	conn, err := c.open(ctx, c.direct[server], false)
	if errors.Is(err, errParametersIgnored) || isParameterRejected(err) {
		c.serverGroup.hasPooler.Store(true)
		return c.open(ctx, c.pooled[server], true)
	}
	return conn, err
}

// errParametersIgnored means that the startup parameters did not reach the server: there is a pooler in front of it.
var errParametersIgnored = errors.New("startup parameters were ignored")

// isParameterRejected reports whether err is PgBouncer's error for a startup parameter that it cannot pass on.
func isParameterRejected(err error) bool {
	var server *pq.Error
	return errors.As(err, &server) && server.Code == "08P01" && strings.Contains(server.Message, "startup parameter")
}

// open makes a connection and checks it, within ctx.
func (c *connector) open(ctx context.Context, cfg pq.Config, isPooled bool) (driver.Conn, error) {
	mark := ""
	if !isPooled {
		mark = rand.Text()
		cfg = cfg.Clone()
		cfg.Runtime[markSetting] = mark
	}

	made, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}

	handshake := &handshake{ctx: ctx}
	made.Dialer(dialer{timeout: c.serverGroup.timeout + readGrace, handshake: handshake})
	conn, err := made.Connect(ctx)
	if err != nil {
		return nil, err
	}

	s, err := newSession(conn, c.serverGroup)
	if err == nil {
		err = c.checkSession(ctx, s, mark)
	}
	if !handshake.end() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if isPooled {
		s.useTransactionSettings(c.settings, c.setsPerStatement)
	}

	return s, nil
}

// checkSession checks a new connection in one round trip: whether it accepts writes and, unless mark is empty, whether its
// session has the mark of its start. Without the mark there is a pooler.
func (c *connector) checkSession(ctx context.Context, s *session, mark string) error {
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

	switch isReadOnly, isMarked := values[0] == true, values[1] == true; {
	case mark != "" && !isMarked:
		return errParametersIgnored
	case c.needsWritable && isReadOnly:
		return errReadOnlyServer
	}

	return nil
}

// connectionEnd returns the time after which a connection that is made now is not used any more.
func connectionEnd(now time.Time) time.Time {
	return now.Add(minConnectionLife + mathrand.N(minConnectionLife/2)) //nolint:gosec // It only spreads the ends.
}
