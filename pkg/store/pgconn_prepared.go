package store

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// preparedStatement is a statement that each connection plans once. Planning takes about as long as storing fifty
// heartbeats.
type preparedStatement struct {
	text      string
	statement atomic.Pointer[sql.Stmt]
	// isUnpreparable is set if the server, or a pooler in front of it, does not keep prepared statements.
	isUnpreparable atomic.Bool
}

// query runs the statement. If the server does not keep it prepared, it sends the text.
func (p *preparedStatement) query(ctx context.Context, db *sqlx.DB, values ...any) (*sql.Rows, error) {
	if p.isUnpreparable.Load() {
		return db.QueryContext(ctx, p.text, values...)
	}

	// A change of the schema invalidates the plan once. A statement that is lost twice in a row is not kept.
	for range 2 {
		rows, err := p.queryPrepared(ctx, db, values)
		if !isPreparedStatementLost(err) {
			return rows, err
		}
	}

	p.isUnpreparable.Store(true)
	return db.QueryContext(ctx, p.text, values...)
}

func (p *preparedStatement) queryPrepared(ctx context.Context, db *sqlx.DB, values []any) (*sql.Rows, error) {
	statement := p.statement.Load()
	if statement == nil {
		prepared, err := db.PrepareContext(ctx, p.text)
		if err != nil {
			return nil, err
		}
		if statement = prepared; !p.statement.CompareAndSwap(nil, prepared) {
			_ = prepared.Close() // Another goroutine has prepared it first.
			if statement = p.statement.Load(); statement == nil {
				return db.QueryContext(ctx, p.text, values...)
			}
		}
	}

	rows, err := statement.QueryContext(ctx, values...)
	if isPreparedStatementLost(err) {
		// Not closed: other goroutines may use it, and it ends with its connections.
		p.statement.CompareAndSwap(statement, nil)
	}
	return rows, err
}

// isPreparedStatementLost reports whether the server does not have a prepared statement, has it twice, or cannot use its
// plan after a change of the schema.
func isPreparedStatementLost(err error) bool {
	var server *pq.Error
	return errors.As(err, &server) && (server.Code == "26000" || server.Code == "42P05" || server.Code == "0A000")
}
