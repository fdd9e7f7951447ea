package grpctransport

import (
	"context"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

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

func (s *fleetServer) ListTransitions(ctx context.Context, in *pb.ListTransitionsRequest) (*pb.ListTransitionsResponse, error) {
	return unary(ctx, s.endpoints.ListTransitions, in, transitionQueryFromProto, transitionPageToProto)
}

func transitionQueryFromProto(in *pb.ListTransitionsRequest) service.TransitionQuery {
	after := cursorFromProto(in.Cursor, in.GetAfter())
	return service.TransitionQuery{
		ControllerID: in.GetControllerId(),
		Region:       in.GetRegion(),
		After:        after.ID,
		Fingerprint:  after.Fingerprint,
		Before:       clampInt64(in.GetBefore()),
		Since:        timeFromProto(in.GetSince()),
		Until:        timeFromProto(in.GetUntil()),
		NewestFirst:  in.GetNewestFirst(),
		PageSize:     int64(in.GetPageSize()),
	}
}

func transitionPageToProto(p service.TransitionPage) *pb.ListTransitionsResponse {
	out := &pb.ListTransitionsResponse{
		NextAfter:   clampUint64(p.NextAfter),
		NextBefore:  clampUint64(p.NextBefore),
		NextCursor:  p.Next.String(),
		Transitions: make([]*pb.Transition, 0, len(p.Transitions)),
	}
	for _, t := range p.Transitions {
		out.Transitions = append(out.Transitions, transitionToProto(t))
	}
	return out
}

func transitionToProto(t service.Transition) *pb.Transition {
	return &pb.Transition{
		Id:             clampUint64(t.ID),
		ControllerId:   t.ControllerID,
		Region:         t.Region,
		At:             timestamppb.New(t.At),
		From:           healthOrNoneToProto(t.From),
		To:             healthOrNoneToProto(t.To),
		Cause:          string(t.Cause),
		Actor:          t.Actor,
		Reason:         t.Reason,
		SilenceMs:      milliseconds(t.Silence),
		ReportedHealth: healthToProto(t.Reported),
	}
}

// healthOrNoneToProto converts a state; a controller that is not registered has none.
func healthOrNoneToProto(h service.HealthStatus) pb.Health {
	if h == "" {
		return pb.Health_HEALTH_UNSPECIFIED
	}
	return healthToProto(h)
}

// timeFromProto returns the zero time for nil, and for an invalid timestamp a time that validation refuses.
func timeFromProto(t *timestamppb.Timestamp) time.Time {
	switch {
	case t == nil:
		return time.Time{}
	case !t.IsValid():
		return time.Unix(-1, 0)
	default:
		return t.AsTime()
	}
}

func timestampOrNil(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func generationFromProto(g *uint64) *int64 {
	if g == nil {
		return nil
	}
	clamped := clampInt64(*g)
	return &clamped
}

func clampInt64(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func clampUint64(n int64) uint64 { return uint64(max(0, n)) }
