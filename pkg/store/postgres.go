package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// readGrace is how much longer than a statement may take a connection is read from before it is given up.
const readGrace = time.Second

func postgres() dialect {
	return dialect{
		name: "postgres",
		// Not now(), which is when the transaction began: the wait for a lock must not make a heartbeat older.
		now:          "clock_timestamp()",
		lockRow:      " FOR UPDATE",
		skipLocked:   " FOR UPDATE SKIP LOCKED",
		skipBusy:     " SKIP LOCKED",
		lockTable:    "LOCK TABLE meeting_controllers IN ROW EXCLUSIVE MODE",
		oneKeeper:    "SELECT pg_try_advisory_xact_lock(hashtextextended('retain', 0))",
		lockRegion:   "SELECT pg_advisory_xact_lock(hashtextextended('drain ' || ?, 0))",
		writers:      writersSQL,
		oneStatement: true,
		bind:         func(t time.Time) any { return t },
		translate:    translatePostgres,
		retryable:    retryPostgres,
	}
}

func (s *Store) openPostgres(cfg Config) error {
	settings := map[string]string{
		"statement_timeout": strconv.FormatInt(cfg.Timeout.Milliseconds(), 10),
		// Less than the statement's, so that a locked table is told from a slow statement.
		"lock_timeout":                        strconv.FormatInt((cfg.Timeout * 4 / 5).Milliseconds(), 10),
		"idle_in_transaction_session_timeout": strconv.FormatInt((cfg.Timeout * 2).Milliseconds(), 10),
	}
	general := max(1, cfg.MaxConns-heartbeatConnections-checkerConnections-watchConnections-1) // The last one listens.
	heartbeats := heartbeatConnections
	if cfg.Unbatched {
		// Then each heartbeat has a connection to itself, and most of them are for heartbeats.
		general, heartbeats = heartbeats, max(general, heartbeats)
	}
	db, err := postgresPool(cfg, settings, general)
	if err != nil {
		return err
	}
	if s.checker, err = postgresPool(cfg, settings, checkerConnections); err != nil {
		return err
	}
	if s.watch, err = postgresPool(cfg, settings, watchConnections); err != nil {
		return err
	}
	s.announcements.send, s.listen = s.notify, func(ctx context.Context) { s.listenPostgres(ctx, cfg) }
	maps.Copy(settings, heartbeatSettings)
	if s.heartbeat.db, err = postgresPool(cfg, settings, heartbeats); err != nil {
		return err
	}
	s.heartbeat.waiting.text, s.heartbeat.skipping.text = heartbeatStatement(""), heartbeatStatement(" SKIP LOCKED")
	s.register.text = registerStatement
	s.dialect, s.write, s.read = postgres(), db, db
	return nil
}

// postgresPool opens up to size connections, when they are needed.
func postgresPool(cfg Config, settings map[string]string, size int) (*sqlx.DB, error) {
	postgres, err := postgresConnector(cfg.URL, settings)
	if err != nil {
		return nil, err
	}
	postgres.Dialer(dialer{limit: cfg.Timeout + readGrace})
	db := sqlx.NewDb(sql.OpenDB(connector{postgres}), "postgres")
	db.SetMaxOpenConns(size)
	// As many idle as open: a fleet beats all the time, and dialling anew costs more than a heartbeat.
	db.SetMaxIdleConns(size)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

func postgresConnector(address string, defaults map[string]string) (*pq.Connector, error) {
	u, err := postgresSource(address, defaults)
	if err != nil {
		return nil, err
	}
	connector, err := pq.NewConnector(u.String())
	if err == nil {
		return connector, nil
	}
	// The errors of the parser can quote the password, so they are passed on only where they cannot.
	if password, _ := u.User.Password(); password != "" || u.Query().Has("password") {
		return nil, errors.New("the address of the database is not understood")
	}
	return nil, fmt.Errorf("the address of the database is not understood: %w", err)
}

// postgresSource reads address and fills in what it does not set itself.
func postgresSource(address string, defaults map[string]string) (*url.URL, error) {
	if !strings.HasPrefix(address, "postgres://") && !strings.HasPrefix(address, "postgresql://") {
		return nil, errors.New("the address of a database is postgres://… or sqlite:PATH")
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address of the database is not a URL")
	}
	query, set := u.Query(), map[string]bool{}
	for name := range query {
		set[strings.ToLower(name)] = true
	}
	// With binary_parameters a statement is one round trip instead of two.
	for name, value := range map[string]string{"binary_parameters": "yes", "connect_timeout": "5", "TimeZone": "UTC"} {
		if !set[strings.ToLower(name)] {
			query.Set(name, value)
		}
	}
	for name, value := range defaults {
		if !set[name] {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return u, nil
}

// dialer makes connections that give up on a server which accepts a statement and never answers: the driver reads
// without a deadline of its own, and its cancel request goes unanswered as well.
type dialer struct{ limit time.Duration }

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var plain net.Dialer
	conn, err := plain.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &impatientConn{Conn: conn, limit: d.limit}, nil
}

// Dial implements [pq.Dialer], which prefers DialContext.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout implements [pq.Dialer], which prefers DialContext.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

var (
	_ pq.Dialer        = dialer{}
	_ pq.DialerContext = dialer{}
)

type impatientConn struct {
	net.Conn
	limit time.Duration
}

func (c *impatientConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *impatientConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
