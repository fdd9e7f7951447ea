package client

import (
	"math"
	"time"

	darktowerv1 "darktower.example/global-controller/proto/darktower/v1"
)

var healths = map[Health]darktowerv1.HealthStatus{
	HealthHealthy:   darktowerv1.HealthStatus_HEALTH_STATUS_HEALTHY,
	HealthDegraded:  darktowerv1.HealthStatus_HEALTH_STATUS_DEGRADED,
	HealthUnhealthy: darktowerv1.HealthStatus_HEALTH_STATUS_UNHEALTHY,
	HealthDraining:  darktowerv1.HealthStatus_HEALTH_STATUS_DRAINING,
}

// healthToProto reads a number that is not listed as unhealthy, as the Global Controller does.
func healthToProto(h Health) darktowerv1.HealthStatus {
	if status, ok := healths[h]; ok {
		return status
	}
	return darktowerv1.HealthStatus_HEALTH_STATUS_UNHEALTHY
}

func (t *grpcTransport) registration() *darktowerv1.RegisterMCRequest {
	return &darktowerv1.RegisterMCRequest{
		Id: t.cfg.ControllerID, Region: t.cfg.Region, GrpcEndpoint: t.cfg.GRPCEndpoint, WebtransportEndpoint: t.cfg.WebTransportEndpoint,
		MaxMeetings: t.cfg.MaxMeetings, MaxParticipants: t.cfg.MaxParticipants, Incarnation: t.cfg.Incarnation,
	}
}

func (t *grpcTransport) capacity(r report) *darktowerv1.ControllerCapacity {
	return &darktowerv1.ControllerCapacity{
		MaxMeetings: t.cfg.MaxMeetings, CurrentMeetings: r.load.Meetings,
		MaxParticipants: t.cfg.MaxParticipants, CurrentParticipants: r.load.Participants,
	}
}

func (t *grpcTransport) fast(r report) *darktowerv1.FastHeartbeatRequest {
	return &darktowerv1.FastHeartbeatRequest{
		ControllerId: t.cfg.ControllerID, Capacity: t.capacity(r), Health: healthToProto(r.health), Incarnation: t.cfg.Incarnation,
	}
}

func (t *grpcTransport) comprehensive(r report) *darktowerv1.ComprehensiveHeartbeatRequest {
	return &darktowerv1.ComprehensiveHeartbeatRequest{
		ControllerId: t.cfg.ControllerID, Capacity: t.capacity(r), Health: healthToProto(r.health), Incarnation: t.cfg.Incarnation,
		CpuUsagePercent: r.load.CPUPercent, MemoryUsagePercent: r.load.MemoryPercent,
	}
}

func heartbeatAnswer(d dictating) answer {
	return answerFrom(d.GetFastHeartbeatIntervalMs(), d.GetComprehensiveHeartbeatIntervalMs(), d.GetRetryAfterMs(), d.GetOperatorIntent())
}

func answerFrom(fast, comprehensive, retryAfter uint64, intent *darktowerv1.OperatorIntent) answer {
	return answer{
		intervals:  Intervals{milliseconds(fast), milliseconds(comprehensive)},
		retryAfter: milliseconds(retryAfter),
		intent:     intentFrom(intent),
	}
}

// intentFrom gives nothing but zeros for an intent that wishes nothing, so that two of them are equal.
func intentFrom(in *darktowerv1.OperatorIntent) Intent {
	if !in.GetDraining() {
		return Intent{}
	}
	intent := Intent{Draining: true, Reason: in.GetReason()}
	if deadline := in.GetDeadline(); deadline > 0 {
		intent.Deadline = time.Unix(int64(min(deadline, math.MaxInt32*100)), 0)
	}
	return intent
}

// milliseconds is bounded by what is no overflow.
func milliseconds(ms uint64) time.Duration {
	return time.Duration(min(ms, uint64(maxInterval/time.Millisecond))) * time.Millisecond
}
