package grpctransport

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// placementServer serves the calls of meeting services.
type placementServer struct {
	pb.UnimplementedPlacementServiceServer
	endpoints endpoints.Endpoints
}

func (s *placementServer) AssignMeeting(ctx context.Context, in *pb.AssignMeetingRequest) (*pb.AssignMeetingResponse, error) {
	encode := func(r service.AssignResponse) *pb.AssignMeetingResponse {
		return &pb.AssignMeetingResponse{Assignment: assignResponseToProto(r), Reused: r.IsReused}
	}
	return unary(ctx, s.endpoints.AssignMeeting, in, assignRequestFromProto, encode)
}

func assignRequestFromProto(in *pb.AssignMeetingRequest) service.AssignRequest {
	placement := in.GetPlacement()
	return service.AssignRequest{
		AssignmentKey:        service.AssignmentKey{MeetingID: in.GetMeetingId(), Region: in.GetRegion()},
		ExpectedParticipants: int64(placement.GetExpectedParticipants()),
		OrgID:                placement.GetOrgId(),
		SeriesID:             placement.GetSeriesId(),
		RequireLabels:        placement.GetRequireLabels(),
		PreferLabels:         placement.GetPreferLabels(),
		ExcludeControllers:   placement.GetExcludeControllers(),
		SpillRegions:         placement.GetSpillRegions(),
		DryRun:               in.GetDryRun(),
	}
}

func (s *placementServer) GetAssignment(ctx context.Context, in *pb.GetAssignmentRequest) (*pb.GetAssignmentResponse, error) {
	decode := func(in *pb.GetAssignmentRequest) service.AssignmentQuery {
		return service.AssignmentQuery{AssignmentKey: service.AssignmentKey{MeetingID: in.GetMeetingId(), Region: in.GetRegion()}}
	}
	encode := func(r service.AssignResponse) *pb.GetAssignmentResponse {
		return &pb.GetAssignmentResponse{Assignment: assignResponseToProto(r)}
	}
	return unary(ctx, s.endpoints.GetAssignment, in, decode, encode)
}

func (s *placementServer) ListAssignments(ctx context.Context, in *pb.ListAssignmentsRequest) (*pb.ListAssignmentsResponse, error) {
	decode := func(in *pb.ListAssignmentsRequest) service.AssignmentListQuery {
		return service.AssignmentListQuery{
			MeetingID:    in.GetMeetingId(),
			ControllerID: in.GetControllerId(),
			Region:       in.GetRegion(),
			PageSize:     int64(in.GetPageSize()),
			PageToken:    in.GetPageToken(),
		}
	}
	encode := func(p service.AssignmentPage) *pb.ListAssignmentsResponse {
		out := &pb.ListAssignmentsResponse{NextPageToken: p.NextPageToken}
		for _, a := range p.Assignments {
			out.Assignments = append(out.Assignments, assignmentToProto(a))
		}
		return out
	}
	return unary(ctx, s.endpoints.ListAssignments, in, decode, encode)
}

func (s *placementServer) EndAssignment(ctx context.Context, in *pb.EndAssignmentRequest) (*pb.EndAssignmentResponse, error) {
	decode := func(in *pb.EndAssignmentRequest) service.AssignmentEnd {
		return service.AssignmentEnd{
			AssignmentKey:      service.AssignmentKey{MeetingID: in.GetMeetingId(), Region: in.GetRegion()},
			Reason:             in.GetReason(),
			ExpectedGeneration: generationFromProto(in.ExpectedGeneration),
		}
	}
	encode := func(a service.Assignment) *pb.EndAssignmentResponse {
		return &pb.EndAssignmentResponse{Assignment: assignmentToProto(a)}
	}
	return unary(ctx, s.endpoints.EndAssignment, in, decode, encode)
}

func assignResponseToProto(r service.AssignResponse) *pb.Assignment {
	out := assignmentToProto(r.Assignment)
	out.GrpcEndpoint = r.Controller.GRPCEndpoint
	out.WebtransportEndpoint = r.Controller.WebTransportEndpoint
	return out
}

func assignmentToProto(a service.Assignment) *pb.Assignment {
	out := &pb.Assignment{
		MeetingId:            a.MeetingID,
		Region:               a.Region,
		ControllerId:         a.ControllerID,
		Generation:           clampUint64(a.Generation),
		ExpectedParticipants: clampUint32(a.ExpectedParticipants),
		Reason:               a.Reason,
	}
	if !a.AssignedAt.IsZero() {
		out.AssignedAt = timestamppb.New(a.AssignedAt)
	}
	return out
}
