package store

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"darktower.example/global-controller/service"
)

var silentFlag = flag.Int("store.silent", 2_500, "how many controllers become stale together in TestSweep_MassSilence")

// TestSweep_MassSilence marks a whole fleet whose heartbeats have stopped, while some controllers return.
func TestSweep_MassSilence(t *testing.T) {
	const returning = 20
	forBothDatabases(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		s := f.Store.(*Store)
		silent := s.timeAgo(t, time.Hour)

		const atOnce = 5000
		for first := 1; first <= *silentFlag; first += atOnce {
			last := min(first+atOnce-1, *silentFlag)
			s.exec(t, `WITH RECURSIVE numbers (n) AS (SELECT CAST(? AS integer) UNION ALL SELECT n + 1 FROM numbers WHERE n < CAST(? AS integer))
				INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, max_meetings, max_participants,
					health_status, reported_status, last_heartbeat_at)
				SELECT 'mc-' || n, 'eu', 'http://mc', 'http://mc', 10, 100, 'healthy', 'healthy', ? FROM numbers`, first, last, silent)
		}

		policy := service.SweepPolicy{
			Threshold:    30 * time.Second,
			FastInterval: 10 * time.Second,
			Interval:     5 * time.Second,
			Tolerance:    time.Minute,
			Actor:        "gc",
		}
		f.SetCheckerAges(t, 0, time.Hour, time.Hour)

		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		latencies := make([][]time.Duration, returning)
		for i := range returning {
			id := fmt.Sprint("mc-", 1+i*(*silentFlag/returning))
			all.Go(func() {
				for ctx.Err() == nil {
					began := time.Now()
					if _, err := s.Heartbeat(context.Background(), heartbeatOf(id)); err != nil {
						t.Errorf("Heartbeat(%s) = %v", id, err)
						return
					}
					latencies[i] = append(latencies[i], time.Since(began))
					time.Sleep(20 * time.Millisecond)
				}
			})
		}

		marked := 0
		longest := time.Duration(0)
		began := time.Now()
		for more := true; more; {
			one := time.Now()
			result, err := s.Sweep(t.Context(), policy)
			if err != nil || !result.Swept {
				stop()
				all.Wait()
				t.Fatalf("Sweep() = %+v, %v", result, err)
			}

			longest = max(longest, time.Since(one))
			marked += len(result.Transitions)
			more = result.More
		}
		took := time.Since(began)
		stop()
		all.Wait()

		waits := slices.Concat(latencies...)
		slices.Sort(waits)
		t.Logf("%d marked in %v, longest chunk %v; heartbeats meanwhile: %d, p50 %v, maximum %v",
			marked, took.Round(time.Millisecond), longest.Round(time.Millisecond), len(waits), waits[len(waits)/2], waits[len(waits)-1])
		if marked < *silentFlag-returning {
			t.Errorf("marked = %d, want at least %d", marked, *silentFlag-returning)
		}
		if limit := max(policy.Interval, time.Duration(*silentFlag)*time.Second/10_000); took > limit {
			t.Errorf("marking took %v, want at most %v", took, limit)
		}

		var recorded int
		err := s.readDB.GetContext(t.Context(), &recorded, `SELECT count(*) FROM controller_transitions WHERE cause = 'stale'`)
		if err != nil || recorded != marked {
			t.Errorf("recorded = %d, %v, want %d", recorded, err, marked)
		}
	})
}
