package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/lib/pq"
)

// driverConn is what the driver's connections can do.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// session is a connection that ends itself: when it leads to a server that is read-only or does not answer, and when
// it is old. Where a pooler is between, it relies on no settings of an earlier statement.
type session struct {
	driver.NamedValueChecker
	inner   driverConn
	cluster *cluster
	made    int64 // as cluster.distrusted
	until   time.Time
	broken  bool
	// perTransaction and perStatement are where a pooler is between: what sets the settings within a transaction, and
	// before a statement outside of one. Both are empty on a direct connection.
	pooled, inTransaction        bool
	perTransaction, perStatement string
}

var _ driverConn = (*session)(nil)

func newSession(conn driver.Conn, c *cluster) (*session, error) {
	inner, ok := conn.(driverConn)
	if !ok {
		return nil, fmt.Errorf("the driver's connection is a %T", conn)
	}
	return &session{
		NamedValueChecker: inner,
		inner:             inner,
		cluster:           c,
		made:              int64(time.Since(c.began)),
		until:             connectionEnd(time.Now()),
	}, nil
}

// noteError checks for errors after which the connection is unusable, and returns err.
func (s *session) noteError(err error) error {
	if err == nil {
		return nil
	}

	var (
		server  *pq.Error
		network net.Error
	)

	switch {
	case errors.As(err, &server):
		// A standby refuses the statement, the transaction or the lock.
		if server.Code == "25006" || server.Code == "0A000" || server.Code == "55000" {
			s.broken = true
		}
		if server.Code == "25006" {
			s.cluster.distrust()
		}
	case errors.As(err, &network) && network.Timeout():
		s.broken = true
		s.cluster.distrust()
	}

	return err
}

// isUsable reports whether the connection may serve another operation.
func (s *session) isUsable() bool {
	return !s.broken && s.made >= s.cluster.distrusted.Load()
}

// IsValid implements [driver.Validator]: it is asked when the connection is given back.
func (s *session) IsValid() bool {
	return s.isUsable() && time.Now().Before(s.until) && s.inner.IsValid()
}

// ResetSession implements [driver.SessionResetter]: it is asked before the connection is used again.
func (s *session) ResetSession(ctx context.Context) error {
	if !s.isUsable() {
		return driver.ErrBadConn
	}
	s.inTransaction = false
	return s.inner.ResetSession(ctx)
}

// Close implements [driver.Conn].
func (s *session) Close() error { return s.inner.Close() }

// Ping implements [driver.Pinger].
func (s *session) Ping(ctx context.Context) error { return s.noteError(s.inner.Ping(ctx)) }

// QueryContext implements [driver.QueryerContext].
func (s *session) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if s.perStatement == "" || s.inTransaction {
		rows, err := s.inner.QueryContext(ctx, query, args)
		return rows, s.noteError(err)
	}
	text, err := inlineValues(s.perStatement, query, args)
	if err != nil {
		return nil, err
	}
	rows, err := s.inner.QueryContext(ctx, text, nil)
	return rows, s.noteError(err)
}

// ExecContext implements [driver.ExecerContext].
func (s *session) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if s.perStatement == "" || s.inTransaction {
		result, err := s.inner.ExecContext(ctx, query, args)
		return result, s.noteError(err)
	}
	text, err := inlineValues(s.perStatement, query, args)
	if err != nil {
		return nil, err
	}
	result, err := s.inner.ExecContext(ctx, text, nil)
	return result, s.noteError(err)
}

// Prepare implements [driver.Conn].
func (s *session) Prepare(query string) (driver.Stmt, error) {
	return s.PrepareContext(context.Background(), query)
}

// PrepareContext implements [driver.ConnPrepareContext].
func (s *session) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if s.pooled {
		return newPooledStatement(s, query), nil
	}
	inner, err := s.inner.PrepareContext(ctx, query)
	if err != nil {
		return nil, s.noteError(err)
	}
	both, ok := inner.(driverStmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's statement is a %T", inner), inner.Close())
	}
	return &statement{driverStmt: both, session: s}, nil
}

// Begin implements [driver.Conn].
func (s *session) Begin() (driver.Tx, error) {
	return s.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx implements [driver.ConnBeginTx]. Our transactions are of one isolation, whatever the database's default is.
func (s *session) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if options.Isolation == driver.IsolationLevel(sql.LevelDefault) {
		options.Isolation = driver.IsolationLevel(sql.LevelReadCommitted)
	}
	tx, err := s.inner.BeginTx(ctx, options)
	if err != nil || s.perTransaction == "" {
		return tx, s.noteError(err)
	}
	if _, err := s.inner.ExecContext(ctx, s.perTransaction, nil); err != nil {
		return nil, errors.Join(s.noteError(err), tx.Rollback())
	}
	s.inTransaction = true
	return &pooledTransaction{Tx: tx, session: s}, nil
}

// driverStmt is what the driver's statements can do.
type driverStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// statement is a statement that the server has prepared.
type statement struct {
	driverStmt
	session *session
}

// QueryContext implements [driver.StmtQueryContext].
func (s *statement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.driverStmt.QueryContext(ctx, args)
	return rows, s.session.noteError(err)
}

// ExecContext implements [driver.StmtExecContext].
func (s *statement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	result, err := s.driverStmt.ExecContext(ctx, args)
	return result, s.session.noteError(err)
}
