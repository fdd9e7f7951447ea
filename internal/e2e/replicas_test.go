package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/testpg"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

type replicasBody struct {
	Replicas []struct {
		ReplicaID            string `json:"replica_id"`
		Version              string
		StalenessThresholdMs int  `json:"staleness_threshold_ms"`
		ConnectionLimit      int  `json:"connection_limit"`
		Pooler               bool `json:"pooler"`
	}
	Store struct {
		Kind     string
		Writable bool
	}
}

func (env *environment) replicas() (shown replicasBody) {
	env.t.Helper()
	got := env.get("/api/v1/replicas", env.readerToken())
	if got.status != http.StatusOK {
		env.t.Fatalf("GET replicas = %d %s", got.status, got.body)
	}
	got.decode(env.t, &shown)
	return shown
}

// TestListReplicas has a server list itself, over both transports.
func TestListReplicas(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.ID = "gc-1" }).waitReady()
		isPostgres := strings.HasPrefix(databaseURL, "postgres")
		var shown replicasBody
		env.waitFor("the replica has recorded itself", func() bool {
			shown = env.replicas()
			return len(shown.Replicas) == 1 && (shown.Replicas[0].ConnectionLimit > 0) == isPostgres
		})
		if r := shown.Replicas[0]; r.ReplicaID != "gc-1" || r.Version != daemon.Version || r.StalenessThresholdMs == 0 || r.Pooler || !shown.Store.Writable {
			t.Errorf("replicas = %+v, want this one, and a store that is writable", shown)
		}

		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+env.readerToken())
		got, err := fleetpb.NewFleetServiceClient(env.conn).ListReplicas(ctx, &fleetpb.ListReplicasRequest{})
		if err != nil || len(got.GetReplicas()) != 1 || got.GetReplicas()[0].GetReplicaId() != "gc-1" || !got.GetStore().GetWritable() || got.GetStore().GetKind() != shown.Store.Kind {
			t.Errorf("ListReplicas() = %v, %v, want the same", got, err)
		}
	})
}

// TestListReplicas_Pooler runs a server behind a PgBouncer in transaction mode: it is ready, serves, and says so.
func TestListReplicas_Pooler(t *testing.T) {
	t.Parallel()
	databaseURL := testpg.URL(t)
	pooler := testpg.NewPooler(t, databaseURL, "transaction", 5)
	i := strings.LastIndexByte(databaseURL, '@')
	j := i + strings.IndexByte(databaseURL[i:], '/')
	env := newEnvironment(t, databaseURL[:i+1]+pooler.Address()+databaseURL[j:], nil).waitReady()
	env.registerHealthy("mc-1", "mc-2")
	if fleet := env.listFleet(); len(fleet) != 2 {
		t.Errorf("fleet = %v, want two controllers", fleet)
	}
	env.waitFor("the replica has recorded that a pooler is between", func() bool {
		shown := env.replicas()
		return len(shown.Replicas) == 1 && shown.Replicas[0].Pooler
	})
}
