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

// replicasBody is the list of replicas over HTTP.
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

func (env *environment) listReplicas() (body replicasBody) {
	env.t.Helper()
	got := env.get("/api/v1/replicas", env.readerToken())
	if got.status != http.StatusOK {
		env.t.Fatalf("GET replicas = %v", got)
	}
	got.decode(env.t, &body)
	return body
}

// TestListReplicas_ListsThisServer checks that a server lists itself over both transports.
func TestListReplicas_ListsThisServer(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.ID = "gc-1" }).waitReady()
		isPostgres := strings.HasPrefix(databaseURL, "postgres")
		var body replicasBody
		env.waitFor("the replica has recorded itself", func() bool {
			body = env.listReplicas()
			return len(body.Replicas) == 1 && (body.Replicas[0].ConnectionLimit > 0) == isPostgres
		})
		r := body.Replicas[0]
		if r.ReplicaID != "gc-1" || r.Version != daemon.Version || r.StalenessThresholdMs == 0 || r.Pooler || !body.Store.Writable {
			t.Errorf("replicas = %+v, want this one, and a writable store", body)
		}

		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+env.readerToken())
		got, err := fleetpb.NewFleetServiceClient(env.conn).ListReplicas(ctx, &fleetpb.ListReplicasRequest{})
		if err != nil || len(got.GetReplicas()) != 1 || got.GetReplicas()[0].GetReplicaId() != "gc-1" {
			t.Errorf("ListReplicas() = %v, %v, want this replica", got, err)
		}
		if !got.GetStore().GetWritable() || got.GetStore().GetKind() != body.Store.Kind {
			t.Errorf("ListReplicas() = %v, want the store %+v", got, body.Store)
		}
	})
}

// TestListReplicas_Pooler runs a server with a PgBouncer in transaction mode, which the list of replicas shows.
func TestListReplicas_Pooler(t *testing.T) {
	t.Parallel()
	databaseURL := testpg.URL(t)
	pooler := testpg.NewPooler(t, databaseURL, "transaction", 5)
	host := strings.LastIndexByte(databaseURL, '@') + 1
	path := host + strings.IndexByte(databaseURL[host:], '/')
	env := newEnvironment(t, databaseURL[:host]+pooler.Address()+databaseURL[path:], nil).waitReady()
	env.registerHealthy("mc-1", "mc-2")
	if fleet := env.listFleet(); len(fleet) != 2 {
		t.Errorf("fleet = %v, want two controllers", fleet)
	}
	env.waitFor("the replica has recorded the pooler", func() bool {
		body := env.listReplicas()
		return len(body.Replicas) == 1 && body.Replicas[0].Pooler
	})
}
