package operatorcli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func (c *cli) replicasCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replicas",
		Short: "show the Global Controllers that share this store",
		Long: `replicas lists the Global Controllers that recorded themselves in the store within the last minute. It shows their
version, and when they started and last recorded themselves. It also shows the staleness threshold and the heartbeat
intervals that they use, and how many connections to the database each may open. -o json also describes the store.`,
		Example: `  gcctl replicas
  gcctl replicas -o json | jq '.store'`,
	}

	listing[*pb.ListReplicasRequest, *pb.ListReplicasResponse]{
		request: &pb.ListReplicasRequest{},
		method:  pb.FleetServiceClient.ListReplicas,
		toBody: func(r *pb.ListReplicasResponse) any {
			return replicasBody{Replicas: toBodies(r.GetReplicas(), replicaToBody), Store: storeToBody(r.GetStore())}
		},
		toTable:   replicaTable,
		emptyNote: "no replica has recorded itself in the store within the last minute",
	}.addTo(cmd, c)
	return cmd
}

// replicaTable returns nil if there are no replicas. Ages are computed from the clock of the store.
func replicaTable(response *pb.ListReplicasResponse) *table {
	if len(response.GetReplicas()) == 0 {
		return nil
	}

	now := response.GetStore().GetAsOf().AsTime()
	t := newTable([]int{4, 5, 6}, "REPLICA", "VERSION", "STARTED", "SEEN", "THRESHOLD", "HEARTBEATS", "CONNECTIONS", "POOLER")
	for _, r := range response.GetReplicas() {
		t.add(cells(
			r.GetReplicaId(),
			r.GetVersion(),
			formatAge(now.Sub(r.GetStartedAt().AsTime()))+" ago",
			formatAge(now.Sub(r.GetSeenAt().AsTime()))+" ago",
			formatSetting(r.GetStalenessThresholdMs()),
			formatSetting(r.GetFastHeartbeatIntervalMs())+"/"+formatSetting(r.GetComprehensiveHeartbeatIntervalMs()),
			fmt.Sprint(r.GetConnectionLimit()),
			formatYesNo(r.GetPooler()),
		)...)
	}
	return t
}

// formatSetting formats a setting in milliseconds, which is at most a day.
func formatSetting(ms uint64) string {
	return (time.Duration(ms) * time.Millisecond).String() //nolint:gosec // At most a day.
}
