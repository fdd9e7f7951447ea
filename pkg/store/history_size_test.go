package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

// fillHistory adds transitions until there are that many rows: one a second up to now, of 50 controllers in seven regions.
// The controller and the region "rare" have only the first ten.
func (s *Store) fillHistory(t *testing.T, rows int) {
	t.Helper()
	var before int
	if err := s.writeDB.Get(&before, `SELECT count(*) FROM controller_transitions`); err != nil {
		t.Fatalf("count: %v", err)
	}

	const columns = `INSERT INTO controller_transitions
		(controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status) `
	statements := []string{fmt.Sprintf(`WITH RECURSIVE series (n) AS (SELECT %d UNION ALL SELECT n + 1 FROM series WHERE n < %d) `+columns+`
		SELECT CASE WHEN n <= 10 THEN 'rare' ELSE 'mc-' || n %% 50 END, CASE WHEN n <= 10 THEN 'rare' ELSE 'region-' || n %% 7 END,
		%s - (%d - n) * 1000, 'healthy', 'degraded', 'heartbeat', 'client', 'reported degraded', 0, 'degraded' FROM series`,
		before+1, rows, s.dialect.nowSQL, rows), `ANALYZE`}
	if s.dialect.name == "postgres" {
		// Building the indexes afterwards takes a third of the time of filling them row by row.
		statements = []string{
			`SET LOCAL statement_timeout = 0`, `SET LOCAL maintenance_work_mem = '256MB'`, `SET LOCAL synchronous_commit = off`,
			`ALTER TABLE controller_transitions DROP CONSTRAINT controller_transitions_pkey`,
			`DROP INDEX idx_controller_transitions_controller, idx_controller_transitions_at, idx_controller_transitions_region`,
			fmt.Sprintf(columns+`SELECT CASE WHEN n <= 10 THEN 'rare' ELSE 'mc-' || n %% 50 END,
				CASE WHEN n <= 10 THEN 'rare' ELSE 'region-' || n %% 7 END,
				now() - (%d - n) * interval '1 second', 'healthy', 'degraded', 'heartbeat', 'client', 'reported degraded', 0, 'degraded'
				FROM generate_series(%d, %d) AS n`, rows, before+1, rows),
			`ALTER TABLE controller_transitions ADD CONSTRAINT controller_transitions_pkey PRIMARY KEY (id)`,
			`CREATE INDEX idx_controller_transitions_controller ON controller_transitions (controller_id, id)`,
			`CREATE INDEX idx_controller_transitions_at ON controller_transitions (at)`,
			`CREATE INDEX idx_controller_transitions_region ON controller_transitions (region, id)`, `ANALYZE controller_transitions`,
		}
	}

	slowStore := openUnmigrated(t, Config{URL: s.url, Timeout: 10 * time.Minute})
	tx, err := slowStore.writeDB.Beginx()
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, statement := range statements {
		if _, err := tx.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}

	if err := tx.Commit(); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// historyReads returns all kinds of reads of a history with that many rows.
func historyReads(rows int64, now time.Time) map[string]service.TransitionFilter {
	hour, long := now.Add(-time.Hour), now.Add(-time.Duration(rows)*time.Second*9/10)

	return map[string]service.TransitionFilter{
		"the newest":                            {NewestFirst: true},
		"the page before":                       {NewestFirst: true, Before: rows - 1000},
		"the oldest":                            {},
		"what follows":                          {After: rows - 20},
		"what follows in the middle":            {After: rows / 2},
		"nothing follows":                       {After: rows},
		"of a region":                           {Region: "region-3", NewestFirst: true},
		"of a region that is quiet":             {Region: "rare", NewestFirst: true},
		"what follows of a region":              {Region: "region-3", After: rows / 2},
		"of a controller":                       {ControllerID: "mc-7", NewestFirst: true},
		"of a controller that is quiet":         {ControllerID: "rare"},
		"of the last hour":                      {Since: hour, NewestFirst: true},
		"of the last hour, the oldest first":    {Since: hour},
		"since long ago, the oldest first":      {Since: long},
		"since long ago, the newest first":      {Since: long, NewestFirst: true},
		"until long ago":                        {Until: long, NewestFirst: true},
		"until an hour ago, the oldest first":   {Until: hour},
		"of an hour long ago":                   {Since: long, Until: long.Add(time.Hour)},
		"of the last hour in a region":          {Since: hour, Region: "region-3", NewestFirst: true},
		"of the last hour in one that is quiet": {Since: hour, Region: "rare", NewestFirst: true},
		"of a controller since long ago":        {ControllerID: "mc-7", Since: long},
	}
}

// fastestOf returns the time of the fastest of up to that many tries. It stops at the first that is fast enough.
func fastestOf(tries int, enough time.Duration, work func()) time.Duration {
	least := time.Hour
	for range tries {
		began := time.Now()
		work()
		if least = min(least, time.Since(began)); least <= enough {
			break
		}
	}
	return least
}

// TestHistory_ReadTimeIsIndependentOfSize compares all kinds of reads of a short and a long history.
func TestHistory_ReadTimeIsIndependentOfSize(t *testing.T) {
	for name, tc := range map[string]struct {
		url          func(*testing.T) string
		small, large int
	}{
		"sqlite":   {sqliteURL, 10_000, 150_000},
		"postgres": {func(t *testing.T) string { return testpg.URL(t) }, 10_000, 2_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openMigrated(t, tc.url(t))
			read := func(filter service.TransitionFilter) func() {
				filter.Limit = 100
				return func() {
					if _, err := s.Transitions(t.Context(), filter); err != nil {
						t.Fatalf("Transitions(%+v) = %v", filter, err)
					}
				}
			}

			changes := func(rows int64) func() {
				return func() {
					if _, err := s.Changes(t.Context(), rows-20, nil, 100); err != nil {
						t.Fatalf("Changes() = %v", err)
					}
				}
			}

			s.fillHistory(t, tc.small)
			took := make(map[string]time.Duration)
			for what, filter := range historyReads(int64(tc.small), s.readClock(t)) {
				took[what] = fastestOf(30, 0, read(filter))
			}

			took["a poll of a watch"] = fastestOf(30, 0, changes(int64(tc.small)))

			s.fillHistory(t, tc.large)
			now := s.readClock(t)
			compare := func(what string, work func()) {
				t.Helper()
				before := took[what]
				// For shorter times the load of the machine decides, not the history.
				enough := 2 * max(before, time.Millisecond)
				after := fastestOf(300, enough, work)
				t.Logf("%-40s %8v → %8v", what, before, after)
				if after > enough {
					t.Errorf("%s took %v of %d changes and %v of %d, want no more than twice as long", what, before, tc.small, after, tc.large)
				}
			}

			for what, filter := range historyReads(int64(tc.large), now) {
				compare(what, read(filter))
			}

			compare("a poll of a watch", changes(int64(tc.large)))
			if name == "postgres" {
				s.wantNoScan(t, int64(tc.large), now)
			}
		})
	}
}

// wantNoScan checks that no read of the history scans the table or sorts.
func (s *Store) wantNoScan(t *testing.T, rows int64, now time.Time) {
	t.Helper()
	for what, filter := range historyReads(rows, now) {
		filter.Limit = 100
		first, last, err := s.rangeOfIDs(t.Context(), filter, rows)
		if err != nil {
			t.Fatalf("rangeOfIDs() = %v", err)
		}

		query, values := transitionsQuery(filter, first, last, s.dialect.bind)
		if isQuiet := filter.Region == "rare" || filter.ControllerID == "rare"; !isQuiet { // Few rows are sorted.
			wantIndexOnly(t, s.readDB, what, query, values...)
		}
	}

	for _, clause := range []string{newestTransition, oldestTransition} {
		wantIndexOnly(t, s.readDB, "an end", selectTransitions+clause)
	}

	wantIndexOnly(t, s.readDB, "a change", selectTransitions+byID, rows/2)
	wantIndexOnly(t, s.readDB, "the last before", selectTransitions+lastBefore, now.Add(-time.Hour))
	wantIndexOnly(t, s.readDB, "the first since", selectTransitions+firstSince, now.Add(-time.Hour))
	wantIndexOnly(t, s.readDB, "ids", selectIDs, rows/2, 100)
}

func wantIndexOnly(t *testing.T, db *sqlx.DB, what, query string, values ...any) {
	t.Helper()
	var plan []string
	if err := db.SelectContext(context.Background(), &plan, db.Rebind("EXPLAIN "+query), values...); err != nil {
		t.Fatalf("explain %s: %v", what, err)
	}
	if slices.ContainsFunc(plan, func(line string) bool { return strings.Contains(line, "Seq Scan") || strings.Contains(line, "Sort") }) {
		t.Errorf("plan of %s:\n%s\nwant only an index", what, strings.Join(plan, "\n"))
	}
}
