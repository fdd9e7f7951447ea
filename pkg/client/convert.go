package client

import (
	"math"
	"time"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
)

var protoHealths = map[Health]darktowerv1.HealthStatus{
	HealthHealthy:   darktowerv1.HealthStatus_HEALTH_STATUS_HEALTHY,
	HealthDegraded:  darktowerv1.HealthStatus_HEALTH_STATUS_DEGRADED,
	HealthUnhealthy: darktowerv1.HealthStatus_HEALTH_STATUS_UNHEALTHY,
	HealthDraining:  darktowerv1.HealthStatus_HEALTH_STATUS_DRAINING,
}

// healthToProto converts a health. An undefined value becomes unhealthy, as in the Global Controller.
func healthToProto(h Health) darktowerv1.HealthStatus {
	if status, ok := protoHealths[h]; ok {
		return status
	}
	return darktowerv1.HealthStatus_HEALTH_STATUS_UNHEALTHY
}

func (t *grpcTransport) registerRequest() *darktowerv1.RegisterMCRequest {
	return &darktowerv1.RegisterMCRequest{
		Id:                   t.cfg.ControllerID,
		Region:               t.cfg.Region,
		GrpcEndpoint:         t.cfg.GRPCEndpoint,
		WebtransportEndpoint: t.cfg.WebTransportEndpoint,
		MaxMeetings:          t.cfg.MaxMeetings,
		MaxParticipants:      t.cfg.MaxParticipants,
		Incarnation:          t.cfg.Incarnation,
	}
}

func (t *grpcTransport) capacityToProto(load Load) *darktowerv1.ControllerCapacity {
	return &darktowerv1.ControllerCapacity{
		MaxMeetings:         t.cfg.MaxMeetings,
		CurrentMeetings:     load.Meetings,
		MaxParticipants:     t.cfg.MaxParticipants,
		CurrentParticipants: load.Participants,
	}
}

func (t *grpcTransport) fastRequest(r heartbeatReport) *darktowerv1.FastHeartbeatRequest {
	return &darktowerv1.FastHeartbeatRequest{
		ControllerId: t.cfg.ControllerID,
		Capacity:     t.capacityToProto(r.load),
		Health:       healthToProto(r.health),
		Incarnation:  t.cfg.Incarnation,
	}
}

func (t *grpcTransport) comprehensiveRequest(r heartbeatReport) *darktowerv1.ComprehensiveHeartbeatRequest {
	return &darktowerv1.ComprehensiveHeartbeatRequest{
		ControllerId:       t.cfg.ControllerID,
		Capacity:           t.capacityToProto(r.load),
		Health:             healthToProto(r.health),
		CpuUsagePercent:    r.load.CPUPercent,
		MemoryUsagePercent: r.load.MemoryPercent,
		Incarnation:        t.cfg.Incarnation,
	}
}

// protoCallResponse has the fields that all responses to registrations and heartbeats share.
type protoCallResponse interface {
	GetOperatorIntent() *darktowerv1.OperatorIntent
	GetFastHeartbeatIntervalMs() uint64
	GetComprehensiveHeartbeatIntervalMs() uint64
	GetRetryAfterMs() uint64
}

// protoHeartbeatResponse is the response to either kind of heartbeat, as a unary call or over a stream.
type protoHeartbeatResponse interface {
	protoCallResponse
	GetAcknowledged() bool
}

func callResponseFromProto(in protoCallResponse) callResponse {
	return callResponse{
		intervals: Intervals{
			Fast:          durationFromMilliseconds(in.GetFastHeartbeatIntervalMs()),
			Comprehensive: durationFromMilliseconds(in.GetComprehensiveHeartbeatIntervalMs()),
		},
		retryAfter: durationFromMilliseconds(in.GetRetryAfterMs()),
		intent:     intentFromProto(in.GetOperatorIntent()),
	}
}

// intentFromProto converts an operator's intent. Without a drain all fields are zero, so that two such intents are equal.
func intentFromProto(in *darktowerv1.OperatorIntent) Intent {
	if !in.GetDraining() {
		return Intent{}
	}

	intent := Intent{Draining: true, Reason: in.GetReason()}
	if deadline := in.GetDeadline(); deadline > 0 {
		intent.Deadline = time.Unix(int64(min(deadline, math.MaxInt32*100)), 0)
	}
	return intent
}

// durationFromMilliseconds converts milliseconds, limited to maxInterval so that the duration does not overflow.
func durationFromMilliseconds(ms uint64) time.Duration {
	return time.Duration(min(ms, uint64(maxInterval/time.Millisecond))) * time.Millisecond
}
