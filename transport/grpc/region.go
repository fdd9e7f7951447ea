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
		Max:                clampUint64(c.Max),
		Current:            clampUint64(c.Current),
		Largest:            clampUint64(c.Largest),
		Free:               c.Free(),
		FreeWithoutLargest: c.FreeWithoutLargest(),
	}
}

func planToProto(p service.DrainPlan) *pb.DrainPlan {
	return &pb.DrainPlan{
		Safe:                 p.IsSafe(),
		Reasons:              p.Reasons,
		MeetingsAffected:     clampUint32(p.MeetingsAffected),
		ParticipantsAffected: clampUint32(p.ParticipantsAffected),
		Before:               regionToProto(p.Before),
		After:                regionToProto(p.After),
	}
}
