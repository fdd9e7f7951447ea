package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// outcome is how one operation ended.
type outcome[T any] struct {
	value    T
	err      error
	panicked any
}

// isAnswer tells what the storage says of a controller from what goes wrong with the storage.
func isAnswer(err error) bool {
	return errors.Is(err, service.ErrNotRegistered) || errors.Is(err, service.ErrSuperseded) || errors.Is(err, service.ErrConflict) ||
		errors.Is(err, service.ErrGone) || errors.Is(err, service.ErrForbidden) || isRefusal(err)
}

// isRefusal tells what an order asks for and cannot have from what goes wrong with the storage.
func isRefusal(err error) bool {
	var (
		invalid *service.InvalidError
		unsafe  *service.UnsafeError
	)
	return errors.As(err, &invalid) || errors.As(err, &unsafe)
}

// errAbandoned stands for what an operation would have said, had it ended in time.
var errAbandoned = errors.New("operation abandoned")

// run does one operation within the store's bound and reports it. The caller's own end is told from ours: only ours is
// the store's fault.
func run[T any](ctx context.Context, s *Store, operation string, work func(context.Context) (T, error)) (T, error) {
	began := time.Now()
	value, err := bounded(ctx, s, operation, work)
	s.report(operation, began, err)
	return value, err
}

func (s *Store) report(operation string, began time.Time, err error) {
	if s.onQuery == nil {
		return
	}
	status := "ok"
	if err != nil && !isAnswer(err) {
		status = "error"
	}
	s.onQuery(operation, status, time.Since(began))
}

// direct does one operation where it is called, with no goroutine of its own, which would cost a lone heartbeat a tenth
// of its CPU. What bounds it is the server's statement timeout and, where no server answers, the read deadline of the
// connection, a second later.
func direct[T any](ctx context.Context, s *Store, operation string, work func(context.Context) (T, error)) (none T, _ error) {
	began := time.Now()
	value, err := work(ctx)
	if err != nil && s.dialect.retryable(err) {
		value, err = work(ctx)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: %w", operation, ctx.Err())
	default:
		err = s.dialect.translate(err)
	}
	s.report(operation, began, err)
	if err != nil {
		return none, err
	}
	return value, nil
}

// bounded runs work beside its caller: a driver that waits for a server which has stopped answering does not look at
// its context, so after a tenth of the bound's grace the caller goes on without it. The connection's read deadline
// ends what was left behind.
func bounded[T any](ctx context.Context, s *Store, operation string, work func(context.Context) (T, error)) (none T, _ error) {
	grace := s.timeout / 10
	own, cancel := context.WithTimeout(ctx, s.timeout-grace)
	done := make(chan outcome[T], 1)
	go func() {
		defer cancel()
		var ended outcome[T]
		// Deferred, so that a panic travels to the caller, where the transport catches it.
		defer func() {
			ended.panicked = recover()
			done <- ended
		}()
		if ended.value, ended.err = work(own); ended.err != nil && s.dialect.retryable(ended.err) {
			ended.value, ended.err = work(own)
		}
	}()
	var ended outcome[T]
	select {
	case ended = <-done:
	case <-own.Done():
		select {
		case ended = <-done:
		case <-time.After(grace):
			ended.err = errAbandoned
		}
	}
	switch {
	case ended.panicked != nil:
		panic(ended.panicked) //nolint:forbidigo // It goes on where the caller can catch it.
	case ended.err == nil:
		return ended.value, nil
	case isAnswer(ended.err):
		return none, ended.err
	case ctx.Err() != nil:
		return none, fmt.Errorf("%s: %w", operation, ctx.Err())
	case errors.Is(own.Err(), context.DeadlineExceeded):
		return none, unavailable("no answer within " + s.timeout.String())
	default:
		return none, withCondition(ended.err, s.dialect.translate(ended.err))
	}
}

// transact runs one operation in one transaction of db, which it commits when the operation succeeds.
func transact[T any](ctx context.Context, s *Store, db *sqlx.DB, operation string, work func(context.Context, *sqlx.Tx) (T, error)) (T, error) {
	return run(ctx, s, operation, func(ctx context.Context) (none T, _ error) {
		tx, err := db.BeginTxx(ctx, nil)
		if err != nil {
			return none, err
		}
		value, err := work(ctx, tx)
		if err != nil {
			// The operation's error says more than that of a rollback, which fails when the connection is gone.
			_ = tx.Rollback()
			return none, err
		}
		return value, tx.Commit()
	})
}

// now reads the database's clock.
func (s *Store) now(ctx context.Context, tx *sqlx.Tx) (time.Time, error) {
	var now dbTime
	err := tx.GetContext(ctx, &now, "SELECT "+s.dialect.now)
	return now.Time, err
}

// pingPostgres and pingSQLite write nothing, and fail where a heartbeat would: without the tables, on a server that is
// read-only, or behind a lock that blocks heartbeats.
const (
	pingPostgres = `WITH beat AS (UPDATE meeting_controllers SET updated_at = updated_at WHERE false RETURNING 1),
	history AS (INSERT INTO controller_transitions (
		controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
		SELECT controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status
		FROM controller_transitions WHERE false RETURNING 1)
SELECT count(*) FROM beat, history`
	pingSQLite = `UPDATE meeting_controllers SET updated_at = updated_at WHERE false`
)

// Ping returns nil when the store could take a heartbeat now. Whether what is written reaches the disk only a commit shows.
func (s *Store) Ping(ctx context.Context) error {
	if s.heartbeat.db == nil {
		_, err := transact(ctx, s, s.write, "ping", func(ctx context.Context, tx *sqlx.Tx) (none struct{}, _ error) {
			_, err := tx.ExecContext(ctx, pingSQLite)
			return none, err
		})
		return err
	}
	_, err := run(ctx, s, "ping", func(ctx context.Context) (none struct{}, _ error) {
		_, err := s.heartbeat.db.ExecContext(ctx, pingPostgres)
		return none, err
	})
	return err
}
