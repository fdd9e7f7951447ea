package grpctransport

import (
	"context"

	"darktower.example/global-controller/endpoints"
	pb "darktower.example/global-controller/proto/darktower/v1"
	"darktower.example/global-controller/service"
)

// registrationMessage is the text that deployed controllers expect after a registration.
const registrationMessage = "Registration successful"

// controllerServer serves the calls of meeting controllers, under both names of the service.
type controllerServer struct {
	pb.UnimplementedGlobalControllerServiceServer
	endpoints endpoints.Endpoints
}

func (s *controllerServer) RegisterMC(ctx context.Context, in *pb.RegisterMCRequest) (*pb.RegisterMCResponse, error) {
	return unary(ctx, s.endpoints.RegisterMC, in, registrationFromProto, registrationResponseToProto)
}

func (s *controllerServer) FastHeartbeat(ctx context.Context, in *pb.FastHeartbeatRequest) (*pb.FastHeartbeatResponse, error) {
	return unary(ctx, s.endpoints.FastHeartbeat, in, fastHeartbeatFromProto, fastAcknowledgementToProto)
}

func (s *controllerServer) ComprehensiveHeartbeat(
	ctx context.Context, in *pb.ComprehensiveHeartbeatRequest,
) (*pb.ComprehensiveHeartbeatResponse, error) {
	return unary(ctx, s.endpoints.ComprehensiveHeartbeat, in, comprehensiveHeartbeatFromProto, comprehensiveAcknowledgementToProto)
}

func (s *controllerServer) NotifyMeetingEnded(
	ctx context.Context, in *pb.NotifyMeetingEndedRequest,
) (*pb.NotifyMeetingEndedResponse, error) {
	encode := func(service.Acknowledgement) *pb.NotifyMeetingEndedResponse {
		return &pb.NotifyMeetingEndedResponse{Acknowledged: true}
	}
	return unary(ctx, s.endpoints.NotifyMeetingEnded, in, meetingEndedFromProto, encode)
}

func registrationFromProto(in *pb.RegisterMCRequest) service.Registration {
	return service.Registration{
		ControllerID:         in.GetId(),
		Region:               in.GetRegion(),
		GRPCEndpoint:         in.GetGrpcEndpoint(),
		WebTransportEndpoint: in.GetWebtransportEndpoint(),
		MaxMeetings:          int64(in.GetMaxMeetings()),
		MaxParticipants:      int64(in.GetMaxParticipants()),
		Incarnation:          in.GetIncarnation(),
	}
}

func registrationResponseToProto(r service.RegistrationResponse) *pb.RegisterMCResponse {
	return &pb.RegisterMCResponse{
		Accepted:                         true,
		Message:                          registrationMessage,
		FastHeartbeatIntervalMs:          milliseconds(r.FastInterval),
		ComprehensiveHeartbeatIntervalMs: milliseconds(r.ComprehensiveInterval),
		OperatorIntent:                   intentToProto(r.Intent),
		RetryAfterMs:                     milliseconds(r.RetryAfter),
	}
}

// intentToProto returns nil for no intent, so that the responses to controllers without the field do not change.
func intentToProto(i service.Intent) *pb.OperatorIntent {
	if !i.Draining {
		return nil
	}
	intent := &pb.OperatorIntent{Draining: true, Reason: i.Reason}
	if !i.Deadline.IsZero() {
		intent.Deadline = unixSeconds(i.Deadline)
	}
	return intent
}

func fastAcknowledgementToProto(a service.Acknowledgement) *pb.FastHeartbeatResponse {
	return &pb.FastHeartbeatResponse{
		Acknowledged:                     true,
		Timestamp:                        unixSeconds(a.At),
		OperatorIntent:                   intentToProto(a.Intent),
		FastHeartbeatIntervalMs:          milliseconds(a.Intervals.Fast),
		ComprehensiveHeartbeatIntervalMs: milliseconds(a.Intervals.Comprehensive),
		RetryAfterMs:                     milliseconds(a.RetryAfter),
	}
}

func comprehensiveAcknowledgementToProto(a service.Acknowledgement) *pb.ComprehensiveHeartbeatResponse {
	return &pb.ComprehensiveHeartbeatResponse{
		Acknowledged:                     true,
		Timestamp:                        unixSeconds(a.At),
		OperatorIntent:                   intentToProto(a.Intent),
		FastHeartbeatIntervalMs:          milliseconds(a.Intervals.Fast),
		ComprehensiveHeartbeatIntervalMs: milliseconds(a.Intervals.Comprehensive),
		RetryAfterMs:                     milliseconds(a.RetryAfter),
	}
}

func fastHeartbeatFromProto(in *pb.FastHeartbeatRequest) service.FastHeartbeat {
	return service.FastHeartbeat{
		ControllerID: in.GetControllerId(),
		Load:         loadReportFromProto(in.GetCapacity()),
		Health:       service.HealthStatusFromNumber(int32(in.GetHealth())),
		Incarnation:  in.GetIncarnation(),
	}
}

func comprehensiveHeartbeatFromProto(in *pb.ComprehensiveHeartbeatRequest) service.ComprehensiveHeartbeat {
	return service.ComprehensiveHeartbeat{
		FastHeartbeat: service.FastHeartbeat{
			ControllerID: in.GetControllerId(),
			Load:         loadReportFromProto(in.GetCapacity()),
			Health:       service.HealthStatusFromNumber(int32(in.GetHealth())),
			Incarnation:  in.GetIncarnation(),
		},
		CPUUsagePercent:    float64(in.GetCpuUsagePercent()),
		MemoryUsagePercent: float64(in.GetMemoryUsagePercent()),
	}
}

func loadReportFromProto(in *pb.ControllerCapacity) *service.LoadReport {
	if in == nil {
		return nil
	}
	return &service.LoadReport{
		CurrentMeetings:     int64(in.GetCurrentMeetings()),
		CurrentParticipants: int64(in.GetCurrentParticipants()),
	}
}

func meetingEndedFromProto(in *pb.NotifyMeetingEndedRequest) service.MeetingEnded {
	return service.MeetingEnded{MeetingID: in.GetMeetingId(), Region: in.GetRegion()}
}
