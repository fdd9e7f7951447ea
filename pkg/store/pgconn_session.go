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

// driverConn combines the interfaces that the driver's connections implement.
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

// session is a connection that the pool closes when it is old, or when its server is read-only or does not respond.
// Behind a pooler it does not depend on settings of an earlier statement.
type session struct {
	driver.NamedValueChecker
	inner       driverConn
	serverGroup *serverGroup

	madeAt    int64 // as serverGroup.staleBefore
	expiresAt time.Time
	isBroken  bool

	isPooled      bool
	inTransaction bool
	// transactionSettings set the settings within a transaction, and statementSettings before a statement outside of one.
	// Both are empty on a direct connection.
	transactionSettings string
	statementSettings   string
}

var _ driverConn = (*session)(nil)

func newSession(conn driver.Conn, group *serverGroup) (*session, error) {
	inner, ok := conn.(driverConn)
	if !ok {
		return nil, fmt.Errorf("unsupported driver connection %T", conn)
	}
	return &session{
		NamedValueChecker: inner,
		inner:             inner,
		serverGroup:       group,
		madeAt:            int64(time.Since(group.createdAt)),
		expiresAt:         connectionEnd(time.Now()),
	}, nil
}

// noteError marks the connection as broken after errors that make it unusable, and returns err.
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
		// A standby rejects the statement, the transaction or the lock.
		if server.Code == "25006" || server.Code == "0A000" || server.Code == "55000" {
			s.isBroken = true
		}
		if server.Code == "25006" {
			s.serverGroup.closeOlderConnections()
		}
	case errors.As(err, &network) && network.Timeout():
		s.isBroken = true
		s.serverGroup.closeOlderConnections()
	}

	return err
}

// isUsable reports whether the connection may serve another operation.
func (s *session) isUsable() bool {
	return !s.isBroken && s.madeAt >= s.serverGroup.staleBefore.Load()
}

// IsValid implements [driver.Validator]. The pool calls it when the connection is returned.
func (s *session) IsValid() bool {
	return s.isUsable() && time.Now().Before(s.expiresAt) && s.inner.IsValid()
}

// ResetSession implements [driver.SessionResetter]. The pool calls it before the connection is used again.
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
	if s.statementSettings == "" || s.inTransaction {
		rows, err := s.inner.QueryContext(ctx, query, args)
		return rows, s.noteError(err)
	}

	text, err := inlineValues(s.statementSettings, query, args)
	if err != nil {
		return nil, err
	}
	rows, err := s.inner.QueryContext(ctx, text, nil)
	return rows, s.noteError(err)
}

// ExecContext implements [driver.ExecerContext].
func (s *session) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if s.statementSettings == "" || s.inTransaction {
		result, err := s.inner.ExecContext(ctx, query, args)
		return result, s.noteError(err)
	}

	text, err := inlineValues(s.statementSettings, query, args)
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
	if s.isPooled {
		return newPooledStatement(s, query), nil
	}
	inner, err := s.inner.PrepareContext(ctx, query)
	if err != nil {
		return nil, s.noteError(err)
	}
	stmt, ok := inner.(driverStmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("unsupported driver statement %T", inner), inner.Close())
	}
	return &sessionStatement{driverStmt: stmt, session: s}, nil
}

// Begin implements [driver.Conn].
func (s *session) Begin() (driver.Tx, error) {
	return s.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx implements [driver.ConnBeginTx]. Transactions have the same isolation, whatever the database's default is.
func (s *session) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if options.Isolation == driver.IsolationLevel(sql.LevelDefault) {
		options.Isolation = driver.IsolationLevel(sql.LevelReadCommitted)
	}

	tx, err := s.inner.BeginTx(ctx, options)
	if err != nil || s.transactionSettings == "" {
		return tx, s.noteError(err)
	}
	if _, err := s.inner.ExecContext(ctx, s.transactionSettings, nil); err != nil {
		return nil, errors.Join(s.noteError(err), tx.Rollback())
	}
	s.inTransaction = true
	return &pooledTransaction{Tx: tx, session: s}, nil
}

// driverStmt combines the interfaces that the driver's statements implement.
type driverStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// sessionStatement is a prepared statement of a session.
type sessionStatement struct {
	driverStmt
	session *session
}

// QueryContext implements [driver.StmtQueryContext].
func (s *sessionStatement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.driverStmt.QueryContext(ctx, args)
	return rows, s.session.noteError(err)
}

// ExecContext implements [driver.StmtExecContext].
func (s *sessionStatement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	result, err := s.driverStmt.ExecContext(ctx, args)
	return result, s.session.noteError(err)
}
