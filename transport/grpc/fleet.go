package grpctransport

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/globalcontroller/v1"
	"darktower.example/global-controller/service"
)

// fleetServer serves the calls of operators and tools.
type fleetServer struct {
	pb.UnimplementedFleetServiceServer
	endpoints   endpoints.Endpoints
	cfg         Config
	sendTimeout time.Duration
}

func (s *fleetServer) GetController(ctx context.Context, in *pb.GetControllerRequest) (*pb.GetControllerResponse, error) {
	decode := func(in *pb.GetControllerRequest) service.ControllerQuery {
		return service.ControllerQuery{ControllerID: in.GetControllerId()}
	}
	encode := func(c service.Controller) *pb.GetControllerResponse {
		return &pb.GetControllerResponse{Controller: controllerToProto(c)}
	}
	return unary(ctx, s.endpoints.GetController, in, decode, encode)
}

func (s *fleetServer) ListControllers(ctx context.Context, in *pb.ListControllersRequest) (*pb.ListControllersResponse, error) {
	return unary(ctx, s.endpoints.ListControllers, in, listQueryFromProto, controllerPageToProto)
}

func listQueryFromProto(in *pb.ListControllersRequest) service.ListQuery {
	q := service.ListQuery{Region: in.GetRegion(), PageSize: int64(in.GetPageSize()), PageToken: in.GetPageToken()}
	if in.GetHealth() != pb.Health_HEALTH_UNSPECIFIED {
		q.Health = healthFromProto(in.GetHealth())
	}
	return q
}

// healthFromProto converts a state of a query. An unknown state becomes an invalid one, so that the service refuses it by name: no
// controller can be in that state.
func healthFromProto(h pb.Health) service.HealthStatus {
	for _, known := range service.HealthStatuses() {
		if healthToProto(known) == h {
			return known
		}
	}
	return "unknown"
}

// healthToProto converts a state. The numbers of this protobuf package are one above those of meeting controllers, because 0 is
// unspecified here.
func healthToProto(h service.HealthStatus) pb.Health { return pb.Health(h.Number() + 1) }

func controllerPageToProto(p service.ControllerPage) *pb.ListControllersResponse {
	out := &pb.ListControllersResponse{
		NextPageToken: p.NextPageToken,
		Controllers:   make([]*pb.Controller, 0, len(p.Controllers)),
	}
	for _, c := range p.Controllers {
		out.Controllers = append(out.Controllers, controllerToProto(c))
	}
	return out
}

func controllerToProto(c service.Controller) *pb.Controller {
	eligibility := c.Eligibility()
	out := &pb.Controller{
		ControllerId:         c.ControllerID,
		Region:               c.Region,
		GrpcEndpoint:         c.GRPCEndpoint,
		WebtransportEndpoint: c.WebTransportEndpoint,
		MaxMeetings:          clampUint32(c.MaxMeetings),
		CurrentMeetings:      clampUint32(c.CurrentMeetings),
		MaxParticipants:      clampUint32(c.MaxParticipants),
		CurrentParticipants:  clampUint32(c.CurrentParticipants),
		Health:               healthToProto(c.Health),
		OperatorDraining:     c.Facts.OperatorDraining,
		ReportedHealth:       healthToProto(c.Facts.Reported),
		Stale:                c.Facts.Stale,
		CpuUsagePercent:      c.CPUUsagePercent,
		MemoryUsagePercent:   c.MemoryUsagePercent,
		LastHeartbeatAt:      timestamppb.New(c.LastHeartbeatAt),
		CreatedAt:            timestamppb.New(c.CreatedAt),
		UpdatedAt:            timestamppb.New(c.UpdatedAt),
		Placement:            &pb.Placement{Placeable: eligibility.Eligible, Reasons: eligibility.Reasons},
		Generation:           clampUint64(c.Generation),
		Incarnation:          c.Incarnation,
		IncarnationConflicts: clampUint64(c.IncarnationConflicts),
		Drained:              c.IsDrained(),
		AsOf:                 timestampOrNil(c.AsOf),
	}

	if c.LastConflictAt != nil {
		out.LastIncarnationConflictAt = timestamppb.New(*c.LastConflictAt)
	}
	if c.Drain != nil {
		out.Drain = &pb.Drain{
			Since:          timestamppb.New(c.Drain.Since),
			Deadline:       timestampOrNil(c.Drain.Deadline),
			Reason:         c.Drain.Reason,
			By:             c.Drain.By,
			DeadlinePassed: c.IsPastDeadline(),
		}
	}
	return out
}
