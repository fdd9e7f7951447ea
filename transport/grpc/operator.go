package grpctransport

import (
	"context"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

func (s *fleetServer) Drain(ctx context.Context, in *pb.DrainRequest) (*pb.DrainResponse, error) {
	decode := func(in *pb.DrainRequest) service.DrainOrder {
		return service.DrainOrder{
			ControllerID:       in.GetControllerId(),
			Reason:             in.GetReason(),
			Deadline:           timeFromProto(in.GetDeadline()),
			ExpectedGeneration: generationFromProto(in.ExpectedGeneration),
			DryRun:             in.GetDryRun(),
			Force:              in.GetForce(),
			AssumeDrained:      in.GetAssumeDrained(),
		}
	}

	encode := func(d service.DrainResponse) *pb.DrainResponse {
		return &pb.DrainResponse{Controller: controllerToProto(d.Controller), Plan: planToProto(d.Plan)}
	}

	return unary(ctx, s.endpoints.Drain, in, decode, encode)
}

func (s *fleetServer) Undrain(ctx context.Context, in *pb.UndrainRequest) (*pb.UndrainResponse, error) {
	decode := func(in *pb.UndrainRequest) service.UndrainOrder {
		return service.UndrainOrder{
			ControllerID:       in.GetControllerId(),
			Reason:             in.GetReason(),
			ExpectedGeneration: generationFromProto(in.ExpectedGeneration),
		}
	}
	encode := func(c service.Controller) *pb.UndrainResponse {
		return &pb.UndrainResponse{Controller: controllerToProto(c)}
	}
	return unary(ctx, s.endpoints.Undrain, in, decode, encode)
}

func (s *fleetServer) Deregister(ctx context.Context, in *pb.DeregisterRequest) (*pb.DeregisterResponse, error) {
	decode := func(in *pb.DeregisterRequest) service.Deregistration {
		return service.Deregistration{
			ControllerID:       in.GetControllerId(),
			Incarnation:        in.GetIncarnation(),
			Reason:             in.GetReason(),
			ExpectedGeneration: generationFromProto(in.ExpectedGeneration),
		}
	}
	encode := func(service.DeregistrationResponse) *pb.DeregisterResponse { return &pb.DeregisterResponse{} }
	return unary(ctx, s.endpoints.Deregister, in, decode, encode)
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
