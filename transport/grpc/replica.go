package grpctransport

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

func (s *fleetServer) ListReplicas(ctx context.Context, in *pb.ListReplicasRequest) (*pb.ListReplicasResponse, error) {
	decode := func(*pb.ListReplicasRequest) service.ReplicaQuery { return service.ReplicaQuery{} }
	return unary(ctx, s.endpoints.ListReplicas, in, decode, replicasToProto)
}

func replicasToProto(l service.ReplicaList) *pb.ListReplicasResponse {
	out := &pb.ListReplicasResponse{
		Store: &pb.Store{
			Kind:           l.Store.Kind,
			MaxConnections: clampUint32(int64(l.Store.MaxConnections)),
			Writable:       l.Store.Writable,
			SchemaVersion:  l.Store.SchemaVersion,
			AsOf:           timestamppb.New(l.Store.AsOf),
		},
	}

	for _, r := range l.Replicas {
		out.Replicas = append(out.Replicas, &pb.Replica{
			ReplicaId:                        r.ID,
			Version:                          r.Version,
			StartedAt:                        timestamppb.New(r.StartedAt),
			SeenAt:                           timestamppb.New(r.SeenAt),
			StalenessThresholdMs:             clampUint64(r.StalenessThreshold.Milliseconds()),
			FastHeartbeatIntervalMs:          clampUint64(r.FastInterval.Milliseconds()),
			ComprehensiveHeartbeatIntervalMs: clampUint64(r.ComprehensiveInterval.Milliseconds()),
			ConnectionLimit:                  clampUint32(int64(r.ConnectionLimit)),
			Pooler:                           r.Pooler,
		})
	}

	return out
}
