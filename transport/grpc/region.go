package grpctransport

import (
	"context"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

func (s *fleetServer) ListRegions(ctx context.Context, in *pb.ListRegionsRequest) (*pb.ListRegionsResponse, error) {
	decode := func(*pb.ListRegionsRequest) service.RegionQuery { return service.RegionQuery{} }
	return unary(ctx, s.endpoints.ListRegions, in, decode, regionsToProto)
}

func regionsToProto(r service.Regions) *pb.ListRegionsResponse {
	out := &pb.ListRegionsResponse{Regions: make([]*pb.Region, 0, len(r.Regions)), AsOf: timestampOrNil(r.AsOf)}
	for _, region := range r.Regions {
		out.Regions = append(out.Regions, regionToProto(region))
	}
	return out
}

func regionToProto(r service.Region) *pb.Region {
	return &pb.Region{
		Region:              r.Region,
		Pending:             clampUint32(r.Controllers[service.HealthPending]),
		Healthy:             clampUint32(r.Controllers[service.HealthHealthy]),
		Degraded:            clampUint32(r.Controllers[service.HealthDegraded]),
		Unhealthy:           clampUint32(r.Controllers[service.HealthUnhealthy]),
		Draining:            clampUint32(r.Controllers[service.HealthDraining]),
		Meetings:            capacityToProto(r.Meetings),
		Participants:        capacityToProto(r.Participants),
		SurvivesLargestLoss: r.SurvivesLargestLoss(),
	}
}

func capacityToProto(c service.RegionCapacity) *pb.RegionCapacity {
	return &pb.RegionCapacity{
		Max:                clampUint64(c.ServingLimit),
		Current:            clampUint64(c.RunningLoad),
		Largest:            clampUint64(c.LargestServing),
		Free:               c.Headroom(),
		FreeWithoutLargest: c.HeadroomWithoutLargest(),
	}
}
