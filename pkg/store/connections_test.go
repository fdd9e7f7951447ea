package store

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

func TestConnections_AreDivided(t *testing.T) {
	for limit := MinConnections; limit <= 40; limit++ {
		c := divideConnections(limit)
		if sum := c.heartbeats + c.checker + c.watch + c.general + 1; sum != limit {
			t.Errorf("%d connections are divided into %+v, which are %d with the one that listens", limit, c, sum)
		}
	}
	for _, tc := range []struct{ most, allowed, replicas, want int }{
		{20, 97, 0, 20}, {20, 97, 1, 20}, {20, 97, 4, 20}, {20, 97, 5, 17}, {20, 97, 9, 9}, {20, 97, 10, 9}, {20, 500, 20, 20}, {8, 97, 1, 8}, {50, 97, 1, 50}, {20, 17, 1, 9},
	} {
		if got := shareConnections(tc.most, tc.allowed, tc.replicas); got != tc.want {
			t.Errorf("shareConnections(%d, %d, %d) = %d, want %d", tc.most, tc.allowed, tc.replicas, got, tc.want)
		}
	}
}

// TestPostgresConnections_TenReplicasFit has ten replicas use all the connections that they may have of a PostgreSQL as
// it comes.
func TestPostgresConnections_TenReplicasFit(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t, "-c", "max_connections=100")
	setUp := open(t, cluster.URL())
	setUp.fill(t, 1000)
	if err := setUp.Close(); err != nil {
		t.Fatal(err)
	}
	const replicas = 10
	var stores []*Store
	for i := range replicas {
		s := unmigrated(t, Config{URL: cluster.URL()})
		s.exec(t, `INSERT INTO replicas VALUES (?, '', 1, 1, 1, 1, now(), now())`, fmt.Sprint("gc-", i))
		stores = append(stores, s)
	}
	if err := stores[0].ShareConnections(t.Context()); err != nil || stores[0].ConnectionLimit() != sharedConnections {
		t.Errorf("ShareConnections(ten replicas) = %v, limit %d, want %d", err, stores[0].ConnectionLimit(), sharedConnections)
	}
	var group sync.WaitGroup
	for replica, s := range stores {
		for worker := range 20 {
			group.Go(func() {
				for i := range 10 {
					if _, err := s.Register(context.Background(), registration(fmt.Sprintf("mc-%d-%d-%d", replica, worker, i)), ""); err != nil {
						t.Errorf("Register() = %v", err)
					}
					if _, err := s.Heartbeat(context.Background(), service.HeartbeatWrite{ControllerID: "mc-1", Reported: service.HealthHealthy}); err != nil {
						t.Errorf("Heartbeat() = %v", err)
					}
					if _, err := s.Changes(context.Background(), 0, nil, 1); err != nil {
						t.Errorf("Changes() = %v", err)
					}
				}
			})
		}
		s.listenTo(t)
	}
	group.Wait()
	for _, s := range stores {
		if got := s.PoolStats().MaxOpenConnections; got >= sharedConnections {
			t.Errorf("the pools have %d connections at most, want fewer than %d: one more listens", got, sharedConnections)
		}
	}

	// One that is left alone may have them all.
	stores[0].exec(t, `DELETE FROM replicas WHERE replica_id <> 'gc-0'`)
	if err := stores[0].ShareConnections(t.Context()); err != nil || stores[0].ConnectionLimit() != DefaultConnections {
		t.Errorf("ShareConnections(one replica) = %v, limit %d, want %d", err, stores[0].ConnectionLimit(), DefaultConnections)
	}
	if got := stores[0].PoolStats().MaxOpenConnections; got != DefaultConnections-1 {
		t.Errorf("the pools have %d connections at most, want %d", got, DefaultConnections-1)
	}
}
