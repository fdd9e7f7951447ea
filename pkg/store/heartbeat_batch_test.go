package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

// pendingOf returns a heartbeat that waits for its commit.
func pendingOf(id string, meetings int64, usage *service.Usage) *pendingHeartbeat {
	p := newPendingHeartbeat()
	p.since = time.Now()
	p.write = service.HeartbeatWrite{
		ControllerID:    id,
		CurrentMeetings: meetings,
		Reported:        service.HealthHealthy,
		Usage:           usage,
	}
	return p
}

func TestMergeByController_KeepsLatest(t *testing.T) {
	t.Parallel()
	usage := &service.Usage{CPUPercent: 5, MemoryPercent: 6}
	batch := []*pendingHeartbeat{
		pendingOf("a", 1, nil),
		pendingOf("b", 2, usage),
		pendingOf("b", 3, nil),
		pendingOf("b", 4, nil),
		pendingOf("c", 5, nil),
	}

	writes, groups := mergeByController(batch)
	want := []service.HeartbeatWrite{
		{ControllerID: "a", CurrentMeetings: 1, Reported: service.HealthHealthy},
		{ControllerID: "b", CurrentMeetings: 4, Reported: service.HealthHealthy, Usage: usage},
		{ControllerID: "c", CurrentMeetings: 5, Reported: service.HealthHealthy},
	}

	if diff := cmp.Diff(want, writes); diff != "" {
		t.Errorf("mergeByController(): -want +got:\n%s", diff)
	}
	if len(groups) != 3 || len(groups[0]) != 1 || len(groups[1]) != 3 || groups[1][2] != batch[3] || len(groups[2]) != 1 {
		t.Errorf("groups = %v, want 1, 3 and 1", groups)
	}
}

func TestSplitByController_KeepsControllersWhole(t *testing.T) {
	t.Parallel()
	a, b1, b2, c := pendingOf("a", 0, nil), pendingOf("b", 0, nil), pendingOf("b", 1, nil), pendingOf("c", 0, nil)

	parts := splitByController([]*pendingHeartbeat{b1, b2, c})
	if len(parts) != 2 || !slices.Equal(parts[0], []*pendingHeartbeat{b1, b2}) || !slices.Equal(parts[1], []*pendingHeartbeat{c}) {
		t.Errorf("splitByController(b, b, c) = %v, want both heartbeats of b together", parts)
	}
	parts = splitByController([]*pendingHeartbeat{a, b1, b2})
	if len(parts) != 2 || len(parts[0]) != 1 || len(parts[1]) != 2 {
		t.Errorf("splitByController(a, b, b) = %v, want both heartbeats of b together", parts)
	}
	if parts := splitByController([]*pendingHeartbeat{b1, b2}); parts != nil {
		t.Errorf("splitByController(one controller) = %v, want nil", parts)
	}
}

func TestHeartbeatBatcher_FullQueueFailsAtOnce(t *testing.T) {
	t.Parallel()
	s := openUnmigrated(t, Config{URL: sqliteURL(t)})
	s.heartbeatBatcher.isCommitting = true // No goroutine empties the queue.
	for i := range maxQueued {
		if s.heartbeatBatcher.joinOrLead(pendingOf(fmt.Sprint(i), 0, nil)) != joinedQueue {
			t.Fatalf("the queue is full at %d, want %d", i, maxQueued)
		}
	}

	if _, err := s.Heartbeat(t.Context(), service.HeartbeatWrite{ControllerID: "mc"}); !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("Heartbeat(full queue) = %v, want ErrUnavailable", err)
	}
}

func TestHeartbeatBatcher_AbandonedHeartbeatIsNotWritten(t *testing.T) {
	t.Parallel()
	s := openUnmigrated(t, Config{URL: sqliteURL(t)})
	s.heartbeatBatcher.isCommitting = true
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() {
		_, err := s.Heartbeat(ctx, service.HeartbeatWrite{ControllerID: "gone"})
		returned <- err
	}()

	for length := 0; length == 0; {
		s.heartbeatBatcher.mu.Lock()
		length = len(s.heartbeatBatcher.queue)
		s.heartbeatBatcher.mu.Unlock()
	}

	s.heartbeatBatcher.joinOrLead(pendingOf("here", 0, nil))
	cancel()
	if err := <-returned; !errors.Is(err, context.Canceled) {
		t.Errorf("Heartbeat(canceled) = %v, want context.Canceled", err)
	}
	if batch := s.heartbeatBatcher.takeBatch(); len(batch) != 1 || batch[0].write.ControllerID != "here" {
		t.Errorf("batch = %v, want only the heartbeat whose caller waits", batch)
	}
	if s.heartbeatBatcher.takeBatch() != nil || s.heartbeatBatcher.isCommitting {
		t.Error("want an empty queue and no commit in progress")
	}
}

func TestHeartbeatBatcher_FailedCommitFailsOldHeartbeats(t *testing.T) {
	t.Parallel()
	s := openUnmigrated(t, Config{URL: sqliteURL(t)})
	s.heartbeatBatcher.isCommitting = true
	old, young := pendingOf("old", 0, nil), pendingOf("young", 0, nil)
	old.since = time.Now().Add(-2 * maxQueueAge)
	s.heartbeatBatcher.joinOrLead(old)
	s.heartbeatBatcher.joinOrLead(young)
	s.heartbeatBatcher.failOldest()

	<-old.done
	if err := old.reply.err; !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("reply to the old one = %v, want ErrUnavailable", err)
	}
	if batch := s.heartbeatBatcher.takeBatch(); len(batch) != 1 || batch[0] != young {
		t.Errorf("queue = %v, want the young one", batch)
	}
}

func TestHeartbeat_ConcurrentCallsShareCommits(t *testing.T) {
	t.Parallel()
	forBothDatabases(t, func(t *testing.T, url string) {
		var commits, beats atomic.Int64
		s := openUnmigrated(t, Config{URL: url, OnBatch: func(n int, _ time.Duration) {
			commits.Add(1)
			beats.Add(int64(n))
		}})

		if err := s.Migrate(t.Context()); err != nil {
			t.Fatalf("Migrate() = %v", err)
		}

		const callers, each = 64, 50
		for i := range callers {
			if _, err := s.Register(t.Context(), registration(fmt.Sprint(i)), ""); err != nil {
				t.Fatalf("Register() = %v", err)
			}
		}

		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for range each {
					if _, err := s.Heartbeat(t.Context(), heartbeatOf(fmt.Sprint(i))); err != nil {
						t.Errorf("Heartbeat() = %v", err)
					}
				}
			})
		}
		all.Wait()

		if beats.Load() != callers*each || commits.Load() > callers*each/4 {
			t.Errorf("%d heartbeats in %d commits, want %d in at most a quarter as many", beats.Load(), commits.Load(), callers*each)
		}

		t.Logf("%d heartbeats in %d commits", beats.Load(), commits.Load())
	})
}

func TestHeartbeat_LockedRowsDelayNoOthers(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	s, locker := openMigrated(t, url), openUnmigrated(t, Config{URL: url})
	s.insertControllers(t, 20)
	tx, err := locker.writeDB.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}

	// More rows than there are connections for heartbeats.
	const locked = 8
	if _, err := tx.ExecContext(t.Context(), `SELECT FROM meeting_controllers WHERE controller_id = ANY($1) FOR UPDATE`,
		[]string{"mc-1", "mc-2", "mc-3", "mc-4", "mc-5", "mc-6", "mc-7", "mc-8"}); err != nil {
		t.Fatalf("lock: %v", err)
	}

	held := make(chan error, locked)
	for i := range locked {
		go func() {
			_, err := s.Heartbeat(context.Background(), heartbeatOf(fmt.Sprintf("mc-%d", i+1)))
			held <- err
		}()
	}

	began := time.Now()
	for range 10 {
		var all sync.WaitGroup
		for i := range 20 {
			if i < locked {
				continue
			}

			all.Go(func() {
				if _, err := s.Heartbeat(t.Context(), heartbeatOf(fmt.Sprintf("mc-%d", i+1))); err != nil {
					t.Errorf("Heartbeat(mc-%d) = %v", i+1, err)
				}
			})
		}
		all.Wait()
	}

	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the others took %v, want no wait for the lock", took)
	}

	select {
	case err := <-held:
		t.Errorf("Heartbeat(locked) = %v, want it to wait", err)
	default:
	}

	if err := tx.Rollback(); err != nil {
		t.Fatalf("rollback: %v", err)
	}

	for range locked {
		if err := <-held; err != nil {
			t.Errorf("Heartbeat(lock released) = %v, want nil", err)
		}
	}
}

// TestHeartbeat_AcknowledgedSurvivesPostgresCrash kills the server during batches, three times.
func TestHeartbeat_AcknowledgedSurvivesPostgresCrash(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t)
	s := openUnmigrated(t, Config{URL: cluster.URL(), Timeout: 2 * time.Second})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate() = %v", err)
	}

	const controllers = 64
	s.insertControllers(t, controllers)
	var total int64
	acknowledged := make([]int64, controllers)

	for round := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var sum atomic.Int64

		for i := range controllers {
			all.Go(func() {
				for n := acknowledged[i] + 1; ctx.Err() == nil; n++ {
					h := heartbeatOf(fmt.Sprintf("mc-%d", i+1))
					h.CurrentMeetings = n
					_, err := s.Heartbeat(context.Background(), h)
					if err == nil {
						acknowledged[i] = n
						sum.Add(1)
					} else if !errors.Is(err, service.ErrUnavailable) {
						t.Errorf("Heartbeat() = %v, want ErrUnavailable", err)
					}
				}
			})
		}

		for sum.Load() < int64(2000*(round+1)) {
			time.Sleep(time.Millisecond)
		}

		cluster.Kill()
		cancel()
		all.Wait()
		total += sum.Load()
		cluster.Restart()

		for i, n := range acknowledged {
			c, err := s.Controller(t.Context(), fmt.Sprintf("mc-%d", i+1))
			if err != nil || c.CurrentMeetings < n {
				t.Errorf("mc-%d was acknowledged with %d; stored is %d (%v)", i+1, n, c.CurrentMeetings, err)
			}
			// The next round starts at the stored number, acknowledged or not.
			acknowledged[i] = max(n, c.CurrentMeetings)
		}
	}

	t.Logf("%d heartbeats acknowledged", total)
}

func BenchmarkHeartbeats(b *testing.B) {
	for _, unbatched := range []bool{false, true} {
		b.Run(fmt.Sprintf("unbatched=%v", unbatched), func(b *testing.B) {
			s, err := New(Config{URL: testpg.URL(b), Unbatched: unbatched})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if err := s.Migrate(b.Context()); err != nil {
				b.Fatal(err)
			}
			if _, err := s.writeDB.ExecContext(b.Context(), `INSERT INTO meeting_controllers
				(controller_id, region, endpoint, grpc_endpoint, max_meetings, max_participants, health_status, reported_status)
				SELECT 'mc-' || n, 'eu', 'http://mc', 'http://mc', 10, 100, 'healthy', 'healthy' FROM generate_series(1, 10000) AS n`); err != nil {
				b.Fatal(err)
			}

			var next atomic.Int64
			b.SetParallelism(128)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					h := heartbeatOf(fmt.Sprintf("mc-%d", next.Add(1)%10000+1))
					h.CurrentMeetings = 1
					if _, err := s.Heartbeat(context.Background(), h); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
