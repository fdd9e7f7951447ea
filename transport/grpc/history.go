package grpctransport

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

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
