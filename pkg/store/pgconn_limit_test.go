package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

func TestDivideConnections_SumIsLimit(t *testing.T) {
	for limit := MinConnections; limit <= 40; limit++ {
		c := divideConnections(limit)
		if sum := c.heartbeats + c.checker + c.watch + c.general + 1; sum != limit {
			t.Errorf("divideConnections(%d) = %+v: the sum with the listening connection is %d", limit, c, sum)
		}
	}
}

func TestShareConnections_LeavesRoomForOneReplica(t *testing.T) {
	for _, tc := range []struct{ maximum, allowed, replicas, want int }{
		{20, 97, 0, 20},
		{20, 97, 1, 20},
		{20, 97, 4, 20},
		{20, 97, 5, 17},
		{20, 97, 9, 9},
		{20, 97, 10, 9},
		{20, 500, 20, 20},
		{8, 97, 1, 8},
		{50, 97, 1, 50},
		{20, 17, 1, 9},
	} {
		if got := shareConnections(tc.maximum, tc.allowed, tc.replicas); got != tc.want {
			t.Errorf("shareConnections(%d, %d, %d) = %d, want %d", tc.maximum, tc.allowed, tc.replicas, got, tc.want)
		}
	}
}

// TestPostgresConnections_TenReplicasFit runs ten replicas with all their connections on a PostgreSQL with default
// settings.
func TestPostgresConnections_TenReplicasFit(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t, "-c", "max_connections=100")
	setUp := openMigrated(t, cluster.URL())
	setUp.insertControllers(t, 1000)
	if err := setUp.Close(); err != nil {
		t.Fatal(err)
	}

	const replicas = 10
	var stores []*Store
	for i := range replicas {
		s := openUnmigrated(t, Config{URL: cluster.URL(), MaxConns: DefaultConnections})
		s.exec(t, `INSERT INTO replicas VALUES (?, '', 1, 1, 1, 1, now(), now())`, fmt.Sprint("gc-", i))
		stores = append(stores, s)
	}

	if err := stores[0].ShareConnections(t.Context(), "gc-0"); err != nil || stores[0].ConnectionLimit() != guaranteedConnections {
		t.Errorf("ShareConnections(ten replicas) = %v, limit %d, want %d", err, stores[0].ConnectionLimit(), guaranteedConnections)
	}

	var group sync.WaitGroup
	for replica, s := range stores {
		for worker := range 20 {
			group.Go(func() {
				for i := range 10 {
					if _, err := s.Register(context.Background(), registration(fmt.Sprintf("mc-%d-%d-%d", replica, worker, i)), ""); err != nil {
						t.Errorf("Register() = %v", err)
					}
					if _, err := s.Heartbeat(context.Background(), heartbeatOf("mc-1")); err != nil {
						t.Errorf("Heartbeat() = %v", err)
					}
					if _, err := s.Changes(context.Background(), 0, nil, 1); err != nil {
						t.Errorf("Changes() = %v", err)
					}
				}
			})
		}

		s.collectAnnouncements(t)
	}
	group.Wait()

	for _, s := range stores {
		if got := s.PoolStats().MaxOpenConnections; got >= guaranteedConnections {
			t.Errorf("limit of the pools = %d connections, want less than %d: one more connection listens", got, guaranteedConnections)
		}
	}

	// The only replica may use all connections.
	stores[0].exec(t, `DELETE FROM replicas WHERE replica_id <> 'gc-0'`)
	if err := stores[0].ShareConnections(t.Context(), "gc-0"); err != nil || stores[0].ConnectionLimit() != DefaultConnections {
		t.Errorf("ShareConnections(one replica) = %v, limit %d, want %d", err, stores[0].ConnectionLimit(), DefaultConnections)
	}
	if got := stores[0].PoolStats().MaxOpenConnections; got != DefaultConnections-1 {
		t.Errorf("limit of the pools = %d connections, want %d", got, DefaultConnections-1)
	}
}

// TestReplicas_RecentOnly lists the replicas that beat recently, with the limits of their connections.
func TestReplicas_RecentOnly(t *testing.T) {
	forBothDatabases(t, func(t *testing.T, url string) {
		s := openMigrated(t, url)
		now := s.timeAgo(t, 0)
		for id, seen := range map[string]any{"gc-2": now, "gc-1": now, "gone": s.timeAgo(t, 2*replicaSeenWithin)} {
			s.exec(t, `INSERT INTO replicas (replica_id, version, staleness_threshold_ms, fast_interval_ms,
				comprehensive_interval_ms, max_connections, started_at, seen_at)
				VALUES (?, 'v1', 30000, 10000, 30000, 0, ?, ?)`, id, now, seen)
		}
		if err := s.ShareConnections(t.Context(), "gc-1"); err != nil {
			t.Fatalf("ShareConnections() = %v", err)
		}

		got, err := s.Replicas(t.Context())
		if err != nil || len(got.Replicas) != 2 || got.Replicas[0].ID != "gc-1" || got.Replicas[1].ID != "gc-2" {
			t.Fatalf("Replicas() = %+v, %v, want gc-1 and gc-2", got, err)
		}

		want := service.ReplicaStatus{
			ID:                    "gc-1",
			Version:               "v1",
			StalenessThreshold:    30 * time.Second,
			FastInterval:          10 * time.Second,
			ComprehensiveInterval: 30 * time.Second,
			StartedAt:             got.Replicas[0].StartedAt,
			SeenAt:                got.Replicas[0].SeenAt,
		}
		if s.serverGroup != nil {
			want.ConnectionLimit = DefaultConnections
		}
		if diff := cmp.Diff(want, got.Replicas[0]); diff != "" {
			t.Errorf("Replicas() (-want +got):\n%s", diff)
		}

		status := got.Store
		hasLimit := status.MaxConnections > 0
		if status.Kind != s.dialect.name || !status.Writable || status.SchemaVersion < 6 || hasLimit != s.dialect.isPostgres {
			t.Errorf("store = %+v, want a writable one", status)
		}

		s.exec(t, `ALTER TABLE meeting_controllers RENAME TO renamed`)
		if got, err := s.Replicas(t.Context()); err != nil || got.Store.Writable {
			t.Errorf("Replicas(without the table) = %+v, %v, want a store that is not writable", got.Store, err)
		}
	})
}

func TestReplicas_BehindPooler(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	pooler := testpg.NewPooler(t, url, "transaction", 4)
	s := openMigrated(t, replaceHost(t, url, pooler.Address()))
	s.exec(t, `INSERT INTO replicas (replica_id, version, staleness_threshold_ms, fast_interval_ms,
			comprehensive_interval_ms, max_connections, started_at, seen_at)
		VALUES ('gc', 'v1', 1, 1, 1, 0, now(), now())`)
	if err := s.ShareConnections(t.Context(), "gc"); err != nil {
		t.Fatalf("ShareConnections() = %v", err)
	}
	got, err := s.Replicas(t.Context())
	if err != nil || len(got.Replicas) != 1 || !got.Replicas[0].Pooler || got.Replicas[0].ConnectionLimit != DefaultConnections {
		t.Errorf("Replicas() = %+v, %v, want a pooler", got, err)
	}
}

func TestConnectionEnd_VariesWithinLimits(t *testing.T) {
	ends := map[time.Time]bool{}
	now := time.Now()
	for range 20 {
		end := connectionEnd(now)
		if life := end.Sub(now); life < minConnectionLife || life > minConnectionLife*3/2 {
			t.Errorf("a connection ends after %v, want %v to half as long again", life, minConnectionLife)
		}
		ends[end] = true
	}
	if len(ends) < 10 {
		t.Errorf("20 connections end at %d different times, want at least 10", len(ends))
	}
	if (&session{serverGroup: &serverGroup{}, expiresAt: now.Add(-time.Second)}).IsValid() {
		t.Error("IsValid(after its end) = true, want false")
	}
}
