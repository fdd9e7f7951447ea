package store

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// heartbeatPath is how heartbeats reach PostgreSQL: by connections of their own, whose planner is told what it cannot
// guess about arrays, namely that their controllers are to be found one by one by their key, in the arrays' order.
type heartbeatPath struct {
	db       *sqlx.DB
	waiting  prepared
	skipping prepared
}

// heartbeatSettings keep the planner from reading the whole fleet for a batch, and from planning each batch anew.
var heartbeatSettings = []setting{
	{"enable_hashjoin", "off"},
	{"enable_mergejoin", "off"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"jit", "off"},
	{"plan_cache_mode", "force_generic_plan"},
}

// prepared is a statement that is planned once for each connection: planning it takes about as long as storing fifty
// heartbeats.
type prepared struct {
	text      string
	statement atomic.Pointer[sql.Stmt]
	// refused is set when the server, or a pooler before it, does not keep statements.
	refused atomic.Bool
}

func (p *prepared) query(ctx context.Context, db *sqlx.DB, values ...any) (*sql.Rows, error) {
	if p.refused.Load() {
		return db.QueryContext(ctx, p.text, values...)
	}
	// A change of the schema spoils a plan once. What is lost again at once is not kept at all.
	for range 2 {
		rows, err := p.once(ctx, db, values)
		if !lost(err) {
			return rows, err
		}
	}
	p.refused.Store(true)
	return db.QueryContext(ctx, p.text, values...)
}

func (p *prepared) once(ctx context.Context, db *sqlx.DB, values []any) (*sql.Rows, error) {
	statement := p.statement.Load()
	if statement == nil {
		fresh, err := db.PrepareContext(ctx, p.text)
		if err != nil {
			return nil, err
		}
		if statement = fresh; !p.statement.CompareAndSwap(nil, fresh) {
			_ = fresh.Close() // Another was first.
			if statement = p.statement.Load(); statement == nil {
				return db.QueryContext(ctx, p.text, values...)
			}
		}
	}
	rows, err := statement.QueryContext(ctx, values...)
	if lost(err) {
		// It is not closed: others may be using it, and it ends with its connections.
		p.statement.CompareAndSwap(statement, nil)
	}
	return rows, err
}

// lost tells whether a prepared statement is not there, is there twice, or no longer fits the schema.
func lost(err error) bool {
	var server *pq.Error
	return errors.As(err, &server) && (server.Code == "26000" || server.Code == "42P05" || server.Code == "0A000")
}
