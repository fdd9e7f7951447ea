package store

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

func postgres() dialect {
	return dialect{
		name: "postgres",
		// Not now(), which is when the transaction began: the wait for a lock must not make a heartbeat older.
		now:          "clock_timestamp()",
		statementNow: "statement_timestamp()",
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
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	settings := []setting{
		{"statement_timeout", milliseconds(cfg.Timeout)},
		// Less than the statement's, so that a locked table is told from a slow statement.
		{"lock_timeout", milliseconds(cfg.Timeout * 4 / 5)},
		{"idle_in_transaction_session_timeout", milliseconds(cfg.Timeout * 2)},
		{isolationSetting, "read committed"},
	}
	s.most = cfg.MaxConns
	s.limit.Store(int64(min(cfg.MaxConns, sharedConnections)))
	division := divideConnections(s.ConnectionLimit())
	if cfg.Unbatched {
		// Then each heartbeat has a connection to itself, and most of them are for heartbeats.
		division.general, division.heartbeats = division.heartbeats, max(division.general, division.heartbeats)
	}
	servers, err := newCluster(cfg.URL, cfg.Timeout)
	if err != nil {
		return err
	}
	db, err := servers.pool(settings, division.general)
	if err != nil {
		return err
	}
	if s.checker, err = servers.pool(settings, division.checker); err != nil {
		return err
	}
	if s.watch, err = servers.pool(settings, division.watch); err != nil {
		return err
	}
	s.announcements.send, s.listen = s.notify, func(ctx context.Context) { s.listenPostgres(ctx, servers) }
	if s.heartbeat.db, err = servers.pool(slices.Concat(settings, heartbeatSettings), division.heartbeats); err != nil {
		return err
	}
	s.heartbeat.waiting.text, s.heartbeat.skipping.text = heartbeatStatement(""), heartbeatStatement(" SKIP LOCKED")
	s.register.text = registerStatement
	s.servers, s.dialect, s.write, s.read = servers, postgres(), db, db
	return nil
}

// dialer makes connections that give up on a server which accepts a statement and never answers: the driver reads
// without a deadline of its own, and its cancel request goes unanswered as well.
type dialer struct {
	limit     time.Duration
	handshake *handshake // nil where nothing else bounds it
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var plain net.Dialer
	conn, err := plain.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	impatient := &impatientConn{Conn: conn, limit: d.limit}
	d.handshake.watch(impatient)
	return impatient, nil
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

// impatientConn is a connection each read and write of which is bounded, by limit and by the deadline that the driver
// sets for the making of a connection.
type impatientConn struct {
	net.Conn
	limit    time.Duration
	deadline atomic.Int64 // in nanoseconds since 1970, 0 for none
}

// SetDeadline implements [net.Conn].
func (c *impatientConn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		c.deadline.Store(0)
	} else {
		c.deadline.Store(t.UnixNano())
	}
	return c.Conn.SetDeadline(t)
}

// next is when a read or write that begins now ends at the latest.
func (c *impatientConn) next() time.Time {
	end := time.Now().Add(c.limit)
	if deadline := c.deadline.Load(); deadline != 0 && deadline < end.UnixNano() {
		return time.Unix(0, deadline)
	}
	return end
}

// Read implements [net.Conn].
func (c *impatientConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(c.next()); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write implements [net.Conn].
func (c *impatientConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(c.next()); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
