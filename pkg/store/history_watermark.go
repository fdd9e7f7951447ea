package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// maxScannedIDs limits the ids that are scanned for a missing one; for more, the open writers are listed instead.
	maxScannedIDs = 10_000
	// maxWriterIDs is how many ids can be assigned while one transaction that writes the history is open.
	maxWriterIDs = 100_000
	// maxTailPause is the last of the doubling pauses in which a read waits for transactions that can still commit a missing
	// id. From 1 ms on they are 63 ms together.
	maxTailPause = 32 * time.Millisecond
)

// openWritersSQL lists the open transactions that may have been assigned an id of the history. Each locks the table before
// its first id is assigned, and releases the lock once its rows are visible.
const openWritersSQL = `SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
	AND relation = 'controller_transitions'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

const selectIDs = `SELECT id FROM controller_transitions WHERE id >= ? ORDER BY id LIMIT ?`

// historyWatermark is the id up to which the history is complete. Ids are assigned before their transactions commit, so
// a missing id can still appear. The watermark depends on ids and transactions, not on times: the database's clock may
// be set.
type historyWatermark struct {
	mu sync.Mutex
	// through: no transition with an id up to this one can appear any more; 0 if unknown.
	through int64
	// ceiling was the newest id when writers were listed. It becomes through when all writers have ended; 0 if no writer is
	// open.
	ceiling int64
	writers []string
	since   time.Time // of the list of writers
}

// historyTail is the end of the history.
type historyTail struct {
	// newest is the newest id; 0 if the history is empty.
	newest int64
	// through is the last transition up to which the history is complete. Its ID is 0 if there is none.
	through transitionRow
}

// waitForHistoryTail returns the newest id, and the last transition up to which the history is complete. A later read of the
// history up to that transition misses none. If a transaction can still commit a missing id, it waits up to 63 ms for that
// transaction.
func (s *Store) waitForHistoryTail(ctx context.Context) (historyTail, error) {
	for pause := time.Millisecond; ; pause *= 2 {
		newest, err := s.findTransition(ctx, newestTransition)
		if err != nil || newest.ID == 0 || s.dialect.openWritersSQL == "" {
			return historyTail{newest: newest.ID, through: newest}, err
		}
		through, err := s.advanceWatermark(ctx, newest.ID)
		if err != nil || through == newest.ID {
			return historyTail{newest: newest.ID, through: newest}, err
		}

		if pause > maxTailPause {
			return s.readIncompleteTail(ctx, newest.ID, through)
		}
		select {
		case <-ctx.Done():
			return historyTail{}, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// readIncompleteTail returns the end of a history whose newest transitions must be held back. through is 0 if unknown.
func (s *Store) readIncompleteTail(ctx context.Context, newest, through int64) (historyTail, error) {
	var err error
	if through == 0 {
		if through, err = s.endOfFirstRun(ctx, newest); err != nil {
			return historyTail{}, err
		}
	}
	found, err := s.findTransition(ctx, byID, through)
	return historyTail{newest: newest, through: found}, err
}

// advanceWatermark advances the watermark as far as possible, at most to the newest id, and returns it.
func (s *Store) advanceWatermark(ctx context.Context, newest int64) (int64, error) {
	start := s.watermark.startOfScan(newest)
	if start == newest {
		return newest, nil
	}

	through := start
	if start > 0 {
		ids, err := s.selectIDsFrom(ctx, start, maxScannedIDs)
		if err != nil {
			return 0, err
		}
		if through = endOfRun(ids); len(ids) == 0 || ids[0] != start {
			through = 0 // The transition was deleted by hand, or belongs to another history.
		}
		if s.watermark.move(start, through); through >= newest {
			return newest, nil
		}
	}

	var writers []string
	if err := s.readDB.SelectContext(ctx, &writers, s.dialect.openWritersSQL); err != nil {
		return 0, err
	}
	return s.watermark.updateWriters(through, newest, writers), nil
}

// startOfScan returns through if the ids from it to the newest can be scanned, and 0 if there are too many.
func (w *historyWatermark) startOfScan(newest int64) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()

	if w.through > newest || newest-w.through > maxScannedIDs {
		w.through = 0
	}
	return w.through
}

// move sets through, unless another reader has moved it.
func (w *historyWatermark) move(from, to int64) {
	w.mu.Lock()
	defer w.mu.Unlock()

	if w.through == from {
		w.through = to
	}
}

// updateWriters records which transactions are open. newest is the newest id from before they were listed. It returns the id
// up to which the history is complete.
func (w *historyWatermark) updateWriters(through, newest int64, writers []string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()

	if w.ceiling <= through || w.ceiling > newest {
		w.ceiling = newest
		w.writers = writers
		w.since = time.Now()
	}
	w.writers = slices.DeleteFunc(slices.Clone(w.writers), func(writer string) bool { return !slices.Contains(writers, writer) })

	if len(w.writers) == 0 || time.Since(w.since) > service.MaxHistoryWriteTime {
		through = w.ceiling
		w.ceiling = 0
		w.through = max(w.through, through)
	}
	return through
}

// endOfFirstRun returns the id before the first missing one among the latest. It serves readers while a transaction has
// been open since this process first read the history. An id that is missing for longer than a transaction lasts never
// appears.
func (s *Store) endOfFirstRun(ctx context.Context, newest int64) (int64, error) {
	ids, err := s.selectIDsFrom(ctx, newest-maxWriterIDs, maxWriterIDs)
	return endOfRun(ids), err
}

func (s *Store) selectIDsFrom(ctx context.Context, id int64, limit int) (ids []int64, _ error) {
	err := s.readDB.SelectContext(ctx, &ids, s.readDB.Rebind(selectIDs), id, limit+1)
	return ids, err
}

// endOfRun returns the last id before the first gap.
func endOfRun(ids []int64) (last int64) {
	for i, id := range ids {
		if i > 0 && id != last+1 {
			return last
		}
		last = id
	}
	return last
}
