package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// maxScannedIDs is how many ids are scanned for a missing one; above it the open writers are listed instead.
	maxScannedIDs = 10_000
	// maxWriterIDs is how many ids are given out at the most while one transaction that writes the history is open.
	maxWriterIDs = 100_000
	// maxWriterWait limits how long a read waits for the transactions that could still commit a missing change.
	maxWriterWait = 100 * time.Millisecond
	// writerTimeout is how long, by the monotonic clock, the history waits for a transaction. Those of the Global Controller are
	// shorter: the statement timeout limits them.
	writerTimeout = 30 * time.Second
)

// writersSQL lists the transactions that may have been given an id of the history and are not over. Each has locked the
// table before it was given its first id, and gives the lock back only once what it wrote can be read.
const writersSQL = `SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
	AND relation = 'controller_transitions'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

// historyWatermark is how far the history is complete: ids are given out before their transactions commit, so a number
// that is missing may yet appear. It uses ids and transactions, not times: the database's clock may be set.
type historyWatermark struct {
	mu sync.Mutex
	// through: no change with an id up to this one can appear any more; 0 if unknown.
	through int64
	// ceiling becomes through once all of writers are over, which were open when it was the newest; 0 when nothing is awaited.
	ceiling int64
	writers []string
	since   time.Time
}

// end is one end of the history.
type end struct {
	newest  int64
	through transitionRow // Its ID is 0 when nothing is settled.
}

// historyEnd returns the newest change, and the last one before which no other can appear any more. What is read of the
// history afterwards, up to that one, is complete.
func (s *Store) historyEnd(ctx context.Context) (none end, _ error) {
	for pause := time.Millisecond; ; pause *= 2 {
		newest, err := s.transitionBy(ctx, newestFirst)
		if err != nil || newest.ID == 0 || s.dialect.writers == "" {
			return end{newest.ID, newest}, err
		}
		through, err := s.settle(ctx, newest.ID)
		if err != nil || through == newest.ID {
			return end{newest.ID, newest}, err
		}
		if pause > maxWriterWait/2 {
			if through == 0 {
				if through, err = s.firstRun(ctx, newest.ID); err != nil {
					return none, err
				}
			}
			found, err := s.transitionBy(ctx, withID, through)
			return end{newest.ID, found}, err
		}
		select {
		case <-ctx.Done():
			return none, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// settle moves through as far as it can be, at the most to the newest change, and returns it.
func (s *Store) settle(ctx context.Context, newest int64) (int64, error) {
	start := s.watermark.startOfScan(newest)
	if start == newest {
		return newest, nil
	}

	through := start
	if start > 0 {
		ids, err := s.idsFrom(ctx, start, maxScannedIDs)
		if err != nil {
			return 0, err
		}
		if through = endOfRun(ids); len(ids) == 0 || ids[0] != start {
			through = 0 // It was removed by hand, or belongs to another history.
		}
		if s.watermark.move(start, through); through >= newest {
			return newest, nil
		}
	}

	var writers []string
	if err := s.read.SelectContext(ctx, &writers, s.dialect.writers); err != nil {
		return 0, err
	}
	return s.watermark.await(through, newest, writers), nil
}

// startOfScan returns through if the ids between it and the newest change can be scanned, and 0 if there are too many.
func (s *historyWatermark) startOfScan(newest int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.through > newest || newest-s.through > maxScannedIDs {
		s.through = 0
	}
	return s.through
}

// move sets through, unless another reader has moved it.
func (s *historyWatermark) move(from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.through == from {
		s.through = to
	}
}

// await takes the open transactions, and the newest change from before they were listed. It returns how far the history is
// settled.
func (s *historyWatermark) await(through, newest int64, writers []string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ceiling <= through || s.ceiling > newest {
		s.ceiling, s.writers, s.since = newest, writers, time.Now()
	}
	s.writers = slices.DeleteFunc(slices.Clone(s.writers), func(w string) bool { return !slices.Contains(writers, w) })
	if len(s.writers) == 0 || time.Since(s.since) > writerTimeout {
		through, s.ceiling = s.ceiling, 0
		s.through = max(s.through, through)
	}
	return through
}

// firstRun returns up to which change nothing is missing, where a transaction has been open since this process first
// looked. An id that is missing for longer than any transaction lasts never appears.
func (s *Store) firstRun(ctx context.Context, newest int64) (int64, error) {
	ids, err := s.idsFrom(ctx, newest-maxWriterIDs, maxWriterIDs)
	return endOfRun(ids), err
}

func (s *Store) idsFrom(ctx context.Context, id int64, limit int) (ids []int64, _ error) {
	err := s.read.SelectContext(ctx, &ids, s.read.Rebind(selectIDs), id, limit+1)
	return ids, err
}

// endOfRun returns the last of the ids that follow each other without a gap from the first on.
func endOfRun(ids []int64) (last int64) {
	for i, id := range ids {
		if i > 0 && id != last+1 {
			return last
		}
		last = id
	}
	return last
}

// The clauses by which one change of the history is found.
const (
	newestFirst = ` ORDER BY id DESC LIMIT 1`
	oldestFirst = ` ORDER BY id LIMIT 1`
	withID      = ` WHERE id = ?`
	lastBefore  = ` WHERE at < ? ORDER BY at DESC LIMIT 1`
	firstSince  = ` WHERE at >= ? ORDER BY at LIMIT 1`

	selectIDs = `SELECT id FROM controller_transitions WHERE id >= ? ORDER BY id LIMIT ?`
)

// transitionBy returns one change of the history; its ID is 0 when there is none.
func (s *Store) transitionBy(ctx context.Context, clause string, values ...any) (found transitionRow, _ error) {
	err := s.read.GetContext(ctx, &found, s.read.Rebind(selectTransitions+clause), values...)
	if errors.Is(err, sql.ErrNoRows) {
		return transitionRow{}, nil
	}
	return found, err
}
