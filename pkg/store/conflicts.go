package store

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const (
	// maxConflicting limits the controllers with conflicts that are not written yet. Only the metrics count the
	// conflicts of further controllers.
	maxConflicting = 16384
	// maxConflictsBatch limits the rows of a statement, so that no row is locked for long.
	maxConflictsBatch = 200
	// maxConflictsAnnounced limits the controllers that a write announces: for more, each watch would read the whole fleet.
	maxConflictsAnnounced = 128
)

// conflictCounts counts the calls of superseded incarnations by controller until they are written.
type conflictCounts struct {
	mu     sync.Mutex
	counts map[string]int64
}

// add counts n calls.
func (c *conflictCounts) add(id string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.counts == nil {
		c.counts = make(map[string]int64)
	}
	if _, ok := c.counts[id]; ok || len(c.counts) < maxConflicting {
		c.counts[id] += n
	}
}

// takeAll returns the counts and resets them.
func (c *conflictCounts) takeAll() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()

	counts := c.counts
	c.counts = nil
	return counts
}

// RecordConflict implements [service.Store].
func (s *Store) RecordConflict(controllerID string) { s.conflicts.add(controllerID, 1) }

// WriteConflicts writes the conflicts that were recorded since the last write. It writes them in the order of the
// controllers' ids, so that two replicas cannot deadlock. Over PostgreSQL it uses none of the connections of
// registrations and heartbeats. If a write fails, the remaining conflicts are kept for the next call.
func (s *Store) WriteConflicts(ctx context.Context) error {
	counts := s.conflicts.takeAll()

	ids := slices.Sorted(maps.Keys(counts))
	for len(ids) > 0 {
		batch := ids[:min(len(ids), maxConflictsBatch)]
		if err := s.writeConflictsBatch(ctx, batch, counts); err != nil {
			for _, id := range ids {
				s.conflicts.add(id, counts[id])
			}
			return err
		}

		s.announcer.announceControllers(batch[:min(len(batch), maxConflictsAnnounced)])
		ids = ids[len(batch):]
	}
	return nil
}

func (s *Store) writeConflictsBatch(ctx context.Context, ids []string, counts map[string]int64) error {
	db, write := s.writeDB, s.writeConflictsSQLite
	if s.dialect.isPostgres {
		db, write = s.watchDB, writeConflictsPostgres
	}

	_, err := transact(ctx, s, db, "conflict", func(ctx context.Context, tx *sqlx.Tx) (struct{}, error) {
		return struct{}{}, write(ctx, tx, ids, counts)
	})
	return err
}

func writeConflictsPostgres(ctx context.Context, tx *sqlx.Tx, ids []string, counts map[string]int64) error {
	numbers := make(pq.Int64Array, len(ids))
	for i, id := range ids {
		numbers[i] = counts[id]
	}

	_, err := tx.ExecContext(ctx, `INSERT INTO controller_conflicts AS k (controller_id, conflicts, last_at)
		SELECT m.controller_id, c.conflicts, clock_timestamp()
		FROM unnest($1::varchar[], $2::bigint[]) AS c (controller_id, conflicts) JOIN meeting_controllers AS m USING (controller_id)
		ORDER BY m.controller_id
		ON CONFLICT (controller_id) DO UPDATE SET conflicts = k.conflicts + excluded.conflicts, last_at = excluded.last_at`,
		pq.StringArray(ids), numbers)
	return err
}

func (s *Store) writeConflictsSQLite(ctx context.Context, tx *sqlx.Tx, ids []string, counts map[string]int64) error {
	for _, id := range ids {
		if _, err := tx.ExecContext(ctx, `INSERT INTO controller_conflicts AS k (controller_id, conflicts, last_at)
			SELECT controller_id, ?, `+s.dialect.nowSQL+` FROM meeting_controllers WHERE controller_id = ?
			ON CONFLICT (controller_id) DO UPDATE SET conflicts = k.conflicts + excluded.conflicts, last_at = excluded.last_at`,
			counts[id], id); err != nil {
			return err
		}
	}
	return nil
}
