package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// Operations whose names in metrics and spans are older than the words of the code. Dashboards and alerts use these names.
const (
	sweepOperation = "tick"
	pruneOperation = "retain"
)

// reportQuery calls the hook for an operation that began at a time.
func (s *Store) reportQuery(operation string, began time.Time, err error) {
	if s.onQuery == nil {
		return
	}
	status := "ok"
	if err != nil && !service.IsDomainError(err) {
		status = "error"
	}
	s.onQuery(operation, status, time.Since(began))
}

// run runs an operation within the store's timeout and reports it. If the caller's context ends, the error is the
// context's; if the store's timeout passes, it is [service.ErrUnavailable].
func run[T any](ctx context.Context, s *Store, operation string, work func(context.Context) (T, error)) (T, error) {
	began := time.Now()
	value, err := runBounded(ctx, s, operation, work)
	s.reportQuery(operation, began, err)
	return value, err
}

// runInline runs an operation on the caller's goroutine: another goroutine would cost a single heartbeat a tenth of its
// CPU. The server's statement timeout ends the operation and, if no server responds, the connection's read deadline a
// second later.
func runInline[T any](ctx context.Context, s *Store, operation string, work func(context.Context) (T, error)) (T, error) {
	var zero T
	began := time.Now()
	value, err := work(ctx)
	if err != nil && s.dialect.isRetryable(err) {
		value, err = work(ctx)
	}

	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%s: %w", operation, ctx.Err())
		} else {
			err = s.dialect.translateError(err)
		}
	}
	s.reportQuery(operation, began, err)

	if err != nil {
		return zero, err
	}
	return value, nil
}

// operationResult is the result of an operation on another goroutine. panicValue is not nil if the operation panicked.
type operationResult[T any] struct {
	value      T
	err        error
	panicValue any
}

// errAbandoned is the error of an operation that did not end in time.
var errAbandoned = errors.New("operation abandoned")

// runBounded runs work on another goroutine, because a driver that waits for a frozen server ignores its context. The
// context of work ends a tenth of the timeout early. If work has not returned at the timeout, the caller continues without
// it, and the connection's read deadline ends the abandoned goroutine.
func runBounded[T any](ctx context.Context, s *Store, operation string, work func(context.Context) (T, error)) (T, error) {
	var zero T
	grace := s.timeout / 10
	workCtx, cancel := context.WithTimeout(ctx, s.timeout-grace)
	done := make(chan operationResult[T], 1)

	go func() {
		defer cancel()
		var result operationResult[T]
		// Deferred, so that the caller's goroutine can panic again, where the transport recovers.
		defer func() {
			result.panicValue = recover()
			done <- result
		}()
		if result.value, result.err = work(workCtx); result.err != nil && s.dialect.isRetryable(result.err) {
			result.value, result.err = work(workCtx)
		}
	}()

	var result operationResult[T]
	select {
	case result = <-done:
	case <-workCtx.Done():
		select {
		case result = <-done:
		case <-time.After(grace):
			result.err = errAbandoned
		}
	}

	switch {
	case result.panicValue != nil:
		panic(result.panicValue) //nolint:forbidigo // The caller's goroutine can recover it.
	case result.err == nil:
		return result.value, nil
	case service.IsDomainError(result.err):
		return zero, result.err
	case ctx.Err() != nil:
		return zero, fmt.Errorf("%s: %w", operation, ctx.Err())
	case errors.Is(workCtx.Err(), context.DeadlineExceeded):
		return zero, unavailable("no response within " + s.timeout.String())
	default:
		return zero, withCondition(result.err, s.dialect.translateError(result.err))
	}
}

// transact runs an operation in a transaction of db and commits it if the operation succeeds.
func transact[T any](
	ctx context.Context, s *Store, db *sqlx.DB, operation string, work func(context.Context, *sqlx.Tx) (T, error),
) (T, error) {
	return run(ctx, s, operation, func(ctx context.Context) (T, error) {
		var zero T
		tx, err := db.BeginTxx(ctx, nil)
		if err != nil {
			return zero, err
		}

		value, err := work(ctx, tx)
		if err != nil {
			// The rollback fails if the connection is lost; the operation's error says more.
			_ = tx.Rollback()
			return zero, err
		}
		return value, tx.Commit()
	})
}

// readNow reads the database's clock.
func (s *Store) readNow(ctx context.Context, tx *sqlx.Tx) (time.Time, error) {
	var now dbTime
	err := tx.GetContext(ctx, &now, "SELECT "+s.dialect.nowSQL)
	return now.Time, err
}
