package operatorcli

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// healthWord returns a state as tables and JSON show it; empty if there is none.
func healthWord(h pb.Health) string {
	if h == pb.Health_HEALTH_UNSPECIFIED {
		return ""
	}
	if name, ok := pb.Health_name[int32(h)]; ok {
		return strings.ToLower(strings.TrimPrefix(name, "HEALTH_"))
	}
	return "unknown"
}

// healthWords returns the words of all states, in the order in which they are listed.
func healthWords() []string {
	return []string{"healthy", "degraded", "pending", "unhealthy", "draining"}
}

func healthFromWord(word string) pb.Health {
	return pb.Health(pb.Health_value["HEALTH_"+strings.ToUpper(word)])
}

func healthWordOrNull(h pb.Health) *string { return textOrNull(healthWord(h)) }

func textOrNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func timeOrNull(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}

// listOrEmpty returns an empty list for nil, which JSON would show as null.
func listOrEmpty(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

func controllerToBody(c *pb.Controller) controllerBody {
	placement := placementBody{
		Placeable: c.GetPlacement().GetPlaceable(),
		Reasons:   listOrEmpty(c.GetPlacement().GetReasons()),
	}

	return controllerBody{
		ControllerID:         c.GetControllerId(),
		Region:               c.GetRegion(),
		GRPCEndpoint:         c.GetGrpcEndpoint(),
		WebTransportEndpoint: textOrNull(c.GetWebtransportEndpoint()),
		MaxMeetings:          c.GetMaxMeetings(),
		CurrentMeetings:      c.GetCurrentMeetings(),
		MaxParticipants:      c.GetMaxParticipants(),
		CurrentParticipants:  c.GetCurrentParticipants(),
		Health:               healthWord(c.GetHealth()),
		OperatorDraining:     c.GetOperatorDraining(),
		ReportedHealth:       healthWord(c.GetReportedHealth()),
		Stale:                c.GetStale(),
		CPUUsagePercent:      c.CpuUsagePercent,    //nolint:protogetter // Unset is not 0.
		MemoryUsagePercent:   c.MemoryUsagePercent, //nolint:protogetter // Unset is not 0.
		LastHeartbeatAt:      c.GetLastHeartbeatAt().AsTime(),
		CreatedAt:            c.GetCreatedAt().AsTime(),
		UpdatedAt:            c.GetUpdatedAt().AsTime(),
		Placement:            placement,
		Drain:                drainToBody(c.GetDrain()),
		Generation:           c.GetGeneration(),
		Incarnation:          textOrNull(c.GetIncarnation()),
		Conflicts:            c.GetIncarnationConflicts(),
		LastConflictAt:       timeOrNull(c.GetLastIncarnationConflictAt()),
		Drained:              c.GetDrained(),
		AsOf:                 c.GetAsOf().AsTime(),
	}
}

// drainToBody returns nil if there is no drain.
func drainToBody(d *pb.Drain) *drainBody {
	if d == nil {
		return nil
	}
	return &drainBody{
		Since:          d.GetSince().AsTime(),
		Deadline:       timeOrNull(d.GetDeadline()),
		Reason:         d.GetReason(),
		By:             d.GetBy(),
		DeadlinePassed: d.GetDeadlinePassed(),
	}
}

func transitionToBody(t *pb.Transition) transitionBody {
	return transitionBody{
		ID:             t.GetId(),
		ControllerID:   t.GetControllerId(),
		Region:         t.GetRegion(),
		At:             t.GetAt().AsTime(),
		From:           healthWordOrNull(t.GetFrom()),
		To:             healthWordOrNull(t.GetTo()),
		Cause:          t.GetCause(),
		Actor:          t.GetActor(),
		Reason:         t.GetReason(),
		SilenceMs:      t.GetSilenceMs(),
		ReportedHealth: healthWord(t.GetReportedHealth()),
	}
}

func regionToBody(r *pb.Region) regionBody {
	return regionBody{
		Region:              r.GetRegion(),
		Pending:             r.GetPending(),
		Healthy:             r.GetHealthy(),
		Degraded:            r.GetDegraded(),
		Unhealthy:           r.GetUnhealthy(),
		Draining:            r.GetDraining(),
		Meetings:            capacityToBody(r.GetMeetings()),
		Participants:        capacityToBody(r.GetParticipants()),
		SurvivesLargestLoss: r.GetSurvivesLargestLoss(),
	}
}

func capacityToBody(c *pb.RegionCapacity) regionCapacityBody {
	return regionCapacityBody{
		Max:                c.GetMax(),
		Current:            c.GetCurrent(),
		Largest:            c.GetLargest(),
		Free:               c.GetFree(),
		FreeWithoutLargest: c.GetFreeWithoutLargest(),
	}
}

func drainResultToBody(d *pb.DrainResponse) drainResultBody {
	plan := d.GetPlan()
	return drainResultBody{
		controllerBody: controllerToBody(d.GetController()),
		Plan: planBody{
			Safe:                 plan.GetSafe(),
			Reasons:              listOrEmpty(plan.GetReasons()),
			MeetingsAffected:     plan.GetMeetingsAffected(),
			ParticipantsAffected: plan.GetParticipantsAffected(),
			Before:               regionToBody(plan.GetBefore()),
			After:                regionToBody(plan.GetAfter()),
		},
	}
}

func replicaToBody(r *pb.Replica) replicaBody {
	return replicaBody{
		ReplicaID:                        r.GetReplicaId(),
		Version:                          r.GetVersion(),
		StartedAt:                        r.GetStartedAt().AsTime(),
		SeenAt:                           r.GetSeenAt().AsTime(),
		StalenessThresholdMs:             r.GetStalenessThresholdMs(),
		FastHeartbeatIntervalMs:          r.GetFastHeartbeatIntervalMs(),
		ComprehensiveHeartbeatIntervalMs: r.GetComprehensiveHeartbeatIntervalMs(),
		ConnectionLimit:                  r.GetConnectionLimit(),
		Pooler:                           r.GetPooler(),
	}
}

func storeToBody(s *pb.Store) storeBody {
	return storeBody{
		Kind:           s.GetKind(),
		MaxConnections: s.GetMaxConnections(),
		Writable:       s.GetWritable(),
		SchemaVersion:  s.GetSchemaVersion(),
		AsOf:           s.GetAsOf().AsTime(),
	}
}

// toBodies converts a list. The result is never nil.
func toBodies[In, Body any](all []In, convert func(In) Body) []Body {
	bodies := make([]Body, 0, len(all))
	for _, one := range all {
		bodies = append(bodies, convert(one))
	}
	return bodies
}
