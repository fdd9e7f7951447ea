package operatorcli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func (t *tool) replicasCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "replicas", Short: "show the Global Controllers over this store", Args: arguments(0, 0, "no arguments"),
		Long: `replicas lists the Global Controllers that recorded themselves in the store within the last minute: their version, when
they started and were last seen, the settings that controllers are judged by, and how many connections to the database
each may open.`,
		Example: `  gcctl replicas
  gcctl replicas -o json | jq '.store'`,
		RunE: func(c *cobra.Command, _ []string) error { return t.replicas(c.Context(), output) },
	}
	outputFlag(c, &output, "json", "yaml")
	return c
}

func (t *tool) replicas(ctx context.Context, output string) error {
	if err := form(output, "json", "yaml"); err != nil {
		return err
	}

	s, err := t.open(false)
	if err != nil {
		return err
	}
	defer s.close()

	got, err := read(ctx, s, "", &pb.ListReplicasRequest{}, s.fleet.ListReplicas)
	if err != nil {
		return err
	}
	if output != "" {
		return writeAs(t.Out, output, replicasToBody(got))
	}
	if len(got.GetReplicas()) == 0 {
		t.note("no replica has recorded itself in the store within the last minute")
		return nil
	}

	table := newTable([]int{4, 5, 6}, "REPLICA", "VERSION", "STARTED", "SEEN", "THRESHOLD", "HEARTBEATS", "CONNECTIONS", "POOLER")
	now := got.GetStore().GetAsOf().AsTime()
	for _, r := range got.GetReplicas() {
		pooler := "no"
		if r.GetPooler() {
			pooler = "yes"
		}
		started, seen := now.Sub(r.GetStartedAt().AsTime()), now.Sub(r.GetSeenAt().AsTime())
		heartbeats := ofMilliseconds(r.GetFastHeartbeatIntervalMs()) + "/" + ofMilliseconds(r.GetComprehensiveHeartbeatIntervalMs())
		table.add(cells(r.GetReplicaId(), r.GetVersion(), age(started)+" ago", age(seen)+" ago",
			ofMilliseconds(r.GetStalenessThresholdMs()), heartbeats, fmt.Sprint(r.GetConnectionLimit()), pooler)...)
	}

	return table.write(t.Out, t.paint())
}

func ofMilliseconds(ms uint64) string {
	return (time.Duration(ms) * time.Millisecond).String() //nolint:gosec // A setting of at most a day.
}

type replicaBody struct {
	ReplicaID                        string    `json:"replica_id"`
	Version                          string    `json:"version"`
	StartedAt                        time.Time `json:"started_at"`
	SeenAt                           time.Time `json:"seen_at"`
	StalenessThresholdMs             uint64    `json:"staleness_threshold_ms"`
	FastHeartbeatIntervalMs          uint64    `json:"fast_heartbeat_interval_ms"`
	ComprehensiveHeartbeatIntervalMs uint64    `json:"comprehensive_heartbeat_interval_ms"`
	ConnectionLimit                  uint32    `json:"connection_limit"`
	Pooler                           bool      `json:"pooler"`
}

type storeBody struct {
	Kind           string    `json:"kind"`
	MaxConnections uint32    `json:"max_connections"`
	Writable       bool      `json:"writable"`
	SchemaVersion  int64     `json:"schema_version"`
	AsOf           time.Time `json:"as_of"`
}

type replicasBody struct {
	Replicas []replicaBody `json:"replicas"`
	Store    storeBody     `json:"store"`
}

func replicasToBody(got *pb.ListReplicasResponse) replicasBody {
	store := got.GetStore()
	body := replicasBody{
		Replicas: make([]replicaBody, 0, len(got.GetReplicas())),
		Store: storeBody{
			Kind:           store.GetKind(),
			MaxConnections: store.GetMaxConnections(),
			Writable:       store.GetWritable(),
			SchemaVersion:  store.GetSchemaVersion(),
			AsOf:           store.GetAsOf().AsTime(),
		},
	}

	for _, r := range got.GetReplicas() {
		body.Replicas = append(body.Replicas, replicaBody{
			ReplicaID:                        r.GetReplicaId(),
			Version:                          r.GetVersion(),
			StartedAt:                        r.GetStartedAt().AsTime(),
			SeenAt:                           r.GetSeenAt().AsTime(),
			StalenessThresholdMs:             r.GetStalenessThresholdMs(),
			FastHeartbeatIntervalMs:          r.GetFastHeartbeatIntervalMs(),
			ComprehensiveHeartbeatIntervalMs: r.GetComprehensiveHeartbeatIntervalMs(),
			ConnectionLimit:                  r.GetConnectionLimit(),
			Pooler:                           r.GetPooler(),
		})
	}

	return body
}
