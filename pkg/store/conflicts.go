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
	// maxConflicting bounds how many controllers have conflicts that are not written yet. Conflicts of further controllers
	// are counted by the metrics only.
	maxConflicting = 16384
	// conflictsAtOnce bounds a statement, so that no row stays locked for long.
	conflictsAtOnce = 200
	// conflictsAnnounced bounds how many controllers one write announces: with more, each watch would read the whole fleet.
	conflictsAnnounced = 128
)

// conflictCounts counts the calls of other processes under a controller's id until they are written.
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

// take returns what was counted, and starts over.
func (c *conflictCounts) take() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = nil
	return counts
}

// RecordConflict implements [service.Store].
func (s *Store) RecordConflict(controllerID string) { s.conflicts.add(controllerID, 1) }

// WriteConflicts writes the conflicts that were recorded since the last write, in the order of their controllers' ids so
// that two replicas cannot deadlock. Over PostgreSQL it uses none of the connections that registrations and heartbeats
// wait for. What cannot be written is kept for the next write.
func (s *Store) WriteConflicts(ctx context.Context) error {
	counts := s.conflicts.take()
	if len(counts) == 0 {
		return nil
	}

	ids := slices.Sorted(maps.Keys(counts))
	for len(ids) > 0 {
		some := ids[:min(len(ids), conflictsAtOnce)]
		if err := s.writeConflicts(ctx, some, counts); err != nil {
			for _, id := range ids {
				s.conflicts.add(id, counts[id])
			}
			return err
		}
		s.announcements.announceControllers(some[:min(len(some), conflictsAnnounced)])
		ids = ids[len(some):]
	}
	return nil
}

func (s *Store) writeConflicts(ctx context.Context, ids []string, counts map[string]int64) error {
	if s.dialect.oneStatement {
		numbers := make(pq.Int64Array, len(ids))
		for i, id := range ids {
			numbers[i] = counts[id]
		}
		_, err := transact(ctx, s, s.watch, "conflict", func(ctx context.Context, tx *sqlx.Tx) (none struct{}, _ error) {
			_, err := tx.ExecContext(ctx, `INSERT INTO controller_conflicts AS k (controller_id, conflicts, last_at)
				SELECT m.controller_id, c.conflicts, clock_timestamp()
				FROM unnest($1::varchar[], $2::bigint[]) AS c (controller_id, conflicts) JOIN meeting_controllers AS m USING (controller_id)
				ORDER BY m.controller_id
				ON CONFLICT (controller_id) DO UPDATE SET conflicts = k.conflicts + excluded.conflicts, last_at = excluded.last_at`,
				pq.StringArray(ids), numbers)
			return none, err
		})
		return err
	}

	_, err := transact(ctx, s, s.write, "conflict", func(ctx context.Context, tx *sqlx.Tx) (none struct{}, _ error) {
		for _, id := range ids {
			_, err := tx.ExecContext(ctx, `INSERT INTO controller_conflicts AS k (controller_id, conflicts, last_at)
				SELECT controller_id, ?, `+s.dialect.now+` FROM meeting_controllers WHERE controller_id = ?
				ON CONFLICT (controller_id) DO UPDATE SET conflicts = k.conflicts + excluded.conflicts, last_at = excluded.last_at`, counts[id], id)
			if err != nil {
				return none, err
			}
		}
		return none, nil
	})
	return err
}
