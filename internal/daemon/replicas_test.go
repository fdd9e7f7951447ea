package daemon

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"darktower.example/global-controller/internal/testpg"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

type shownReplicas struct {
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

func (w *world) replicas() (shown shownReplicas) {
	w.t.Helper()
	got := w.get("/api/v1/replicas", w.reader())
	if got.status != http.StatusOK {
		w.t.Fatalf("GET replicas = %d %s", got.status, got.body)
	}
	got.decode(w.t, &shown)
	return shown
}

// TestListReplicas has a server list itself, over both transports.
func TestListReplicas(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, func(c *Config) { c.ID = "gc-1" }).ready()
		isPostgres := strings.HasPrefix(databaseURL, "postgres")
		var shown shownReplicas
		w.until("the replica has recorded itself", func() bool {
			shown = w.replicas()
			return len(shown.Replicas) == 1 && (shown.Replicas[0].ConnectionLimit > 0) == isPostgres
		})
		if r := shown.Replicas[0]; r.ReplicaID != "gc-1" || r.Version != Version || r.StalenessThresholdMs == 0 || r.Pooler || !shown.Store.Writable {
			t.Errorf("replicas = %+v, want this one, and a store that is writable", shown)
		}
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+w.reader())
		got, err := fleetpb.NewFleetServiceClient(w.conn).ListReplicas(ctx, &fleetpb.ListReplicasRequest{})
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
	w := newWorld(t, databaseURL[:i+1]+pooler.Address()+databaseURL[j:], nil).ready()
	w.serving("mc-1", "mc-2")
	if fleet := w.fleet(); len(fleet) != 2 {
		t.Errorf("fleet = %v, want two controllers", fleet)
	}
	w.until("the replica has recorded that a pooler is between", func() bool {
		shown := w.replicas()
		return len(shown.Replicas) == 1 && shown.Replicas[0].Pooler
	})
}
