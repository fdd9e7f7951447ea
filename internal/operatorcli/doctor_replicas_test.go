package operatorcli

import (
	"fmt"
	"strings"
	"testing"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

func TestDoctor_Replicas(t *testing.T) {
	t.Parallel()
	replica := func(id, version string, threshold uint64, limit uint32, hasPooler bool) *pb.Replica {
		return &pb.Replica{
			ReplicaId:            id,
			Version:              version,
			StalenessThresholdMs: threshold,
			ConnectionLimit:      limit,
			Pooler:               hasPooler,
		}
	}

	for name, tc := range map[string]struct {
		replicas []*pb.Replica
		want     []string
	}{
		"alike": {
			[]*pb.Replica{replica("gc-1", "v1", 30000, 20, false), replica("gc-2", "v1", 30000, 20, false)},
			[]string{"ok replicas: 2 replicas of one version", "ok connections: the replicas may open 40 connections in total, of 97"},
		},
		"a rollout": {
			[]*pb.Replica{replica("gc-1", "v1", 30000, 20, false), replica("gc-2", "v2", 120000, 20, false)},
			[]string{
				"warn replicas: they run different versions: v1 (gc-1); v2 (gc-2)",
				"warn replicas: they have different settings: threshold 30000 ms",
				"ok connections",
			},
		},
		"too many": {
			[]*pb.Replica{replica("gc-1", "v1", 30000, 60, false), replica("gc-2", "v1", 30000, 40, false)},
			[]string{"ok replicas", "warn connections: 2 replicas may open 100 connections in total, but PostgreSQL accepts only 97"},
		},
		"a pooler": {
			[]*pb.Replica{replica("gc-1", "v1", 30000, 20, true)},
			[]string{"ok replicas", "warn pooler: a connection pooler is between the store and gc-1"},
		},
		"none": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &doctor{onFinding: func(finding) {}}
			d.checkReplicaSettings(tc.replicas)
			d.checkConnections(&pb.ListReplicasResponse{
				Replicas: tc.replicas,
				Store:    &pb.Store{Kind: "postgres", MaxConnections: 97},
			})

			if len(d.findings) != len(tc.want) {
				t.Errorf("found %+v, want %d findings", d.findings, len(tc.want))
			}

			for i, f := range d.findings {
				if got := fmt.Sprintf("%s %s: %s", f.Result, f.Check, f.Detail); i < len(tc.want) && !strings.HasPrefix(got, tc.want[i]) {
					t.Errorf("finding = %q, want %q", got, tc.want[i])
				}
				if f.Result == resultWarning && f.Advice == "" {
					t.Errorf("%q has no advice", f.Detail)
				}
			}
		})
	}
}
