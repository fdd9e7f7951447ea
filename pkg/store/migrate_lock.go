package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/pressly/goose/v3/lock"

	"darktower.example/global-controller/internal/filelock"
)

// Replicas that start together wait for the lock on the schema: each tries once an interval, up to a maximum of tries.
const (
	schemaLockInterval = time.Second
	maxSchemaLockTries = 60
)

// schemaLocker makes replicas migrate one after the other by a lock that a transaction holds: behind a pooler a session
// cannot hold one. It is the lock that goose's own locker takes, so it excludes earlier versions as well.
type schemaLocker struct {
	db *sql.DB
	tx *sql.Tx
}

// SessionLock implements [lock.SessionLocker].
func (l *schemaLocker) SessionLock(ctx context.Context, _ *sql.Conn) error {
	// The transaction outlives ctx, which is the context of the wait.
	tx, err := l.db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}

	isHeld, err := l.waitForLock(ctx, tx)
	if err == nil && !isHeld {
		err = errors.New("another process migrates it")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lock the schema: %w", err), tx.Rollback())
	}

	l.tx = tx
	return nil
}

// waitForLock reports whether the transaction got the lock.
func (l *schemaLocker) waitForLock(ctx context.Context, tx *sql.Tx) (isHeld bool, err error) {
	if _, err := tx.ExecContext(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
		return false, err
	}

	for range maxSchemaLockTries {
		err := tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock($1)", lock.DefaultLockID).Scan(&isHeld)
		if err != nil || isHeld {
			return isHeld, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(schemaLockInterval):
		}
	}
	return false, nil
}

// SessionUnlock implements [lock.SessionLocker].
func (l *schemaLocker) SessionUnlock(context.Context, *sql.Conn) error {
	tx := l.tx
	l.tx = nil
	return tx.Rollback()
}

// lockSchemaFile locks a file, so that no other process migrates the same database. It waits until ctx ends.
func lockSchemaFile(ctx context.Context, path string) (unlock func(), err error) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()

	for {
		unlock, err := filelock.TryLock(path)
		if !errors.Is(err, filelock.ErrHeld) {
			return unlock, err
		}

		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}
