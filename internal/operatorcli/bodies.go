package operatorcli

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// What -o json and -o yaml print has the fields of the HTTP API, so that a script may read either; a test compares them.

type controllerBody struct {
	ControllerID         string        `json:"controller_id"`
	Region               string        `json:"region"`
	GRPCEndpoint         string        `json:"grpc_endpoint"`
	WebTransportEndpoint *string       `json:"webtransport_endpoint"`
	MaxMeetings          uint32        `json:"max_meetings"`
	CurrentMeetings      uint32        `json:"current_meetings"`
	MaxParticipants      uint32        `json:"max_participants"`
	CurrentParticipants  uint32        `json:"current_participants"`
	Health               string        `json:"health"`
	OperatorDraining     bool          `json:"operator_draining"`
	ReportedHealth       string        `json:"reported_health"`
	Stale                bool          `json:"stale"`
	CPUUsagePercent      *float64      `json:"cpu_usage_percent"`
	MemoryUsagePercent   *float64      `json:"memory_usage_percent"`
	LastHeartbeatAt      time.Time     `json:"last_heartbeat_at"`
	CreatedAt            time.Time     `json:"created_at"`
	UpdatedAt            time.Time     `json:"updated_at"`
	Placement            placementBody `json:"placement"`
	Drain                *drainBody    `json:"drain"`
	Generation           uint64        `json:"generation"`
	Incarnation          *string       `json:"incarnation"`
	Conflicts            uint64        `json:"incarnation_conflicts"`
	LastConflictAt       *time.Time    `json:"last_incarnation_conflict_at"`
	Drained              bool          `json:"drained"`
	AsOf                 time.Time     `json:"as_of"`
}

type placementBody struct {
	Placeable bool     `json:"placeable"`
	Reasons   []string `json:"reasons"`
}

type drainBody struct {
	Since          time.Time  `json:"since"`
	Deadline       *time.Time `json:"deadline"`
	Reason         string     `json:"reason"`
	By             string     `json:"by"`
	DeadlinePassed bool       `json:"deadline_passed"`
}

type transitionBody struct {
	ID             uint64    `json:"id"`
	ControllerID   string    `json:"controller_id"`
	Region         string    `json:"region"`
	At             time.Time `json:"at"`
	From           *string   `json:"from"`
	To             *string   `json:"to"`
	Cause          string    `json:"cause"`
	Actor          string    `json:"actor"`
	Reason         string    `json:"reason"`
	SilenceMs      uint64    `json:"silence_ms"`
	ReportedHealth string    `json:"reported_health"`
}

type capacityBody struct {
	Max                uint64 `json:"max"`
	Current            uint64 `json:"current"`
	Largest            uint64 `json:"largest"`
	Free               int64  `json:"free"`
	FreeWithoutLargest int64  `json:"free_without_largest"`
}

type regionBody struct {
	Region              string       `json:"region"`
	Pending             uint32       `json:"pending"`
	Healthy             uint32       `json:"healthy"`
	Degraded            uint32       `json:"degraded"`
	Unhealthy           uint32       `json:"unhealthy"`
	Draining            uint32       `json:"draining"`
	Meetings            capacityBody `json:"meetings"`
	Participants        capacityBody `json:"participants"`
	SurvivesLargestLoss bool         `json:"survives_largest_loss"`
}

type planBody struct {
	Safe                 bool       `json:"safe"`
	Reasons              []string   `json:"reasons"`
	MeetingsAffected     uint32     `json:"meetings_affected"`
	ParticipantsAffected uint32     `json:"participants_affected"`
	Before               regionBody `json:"before"`
	After                regionBody `json:"after"`
}

type drainedBody struct {
	controllerBody
	Plan planBody `json:"plan"`
}

// healthWord is a state as people and JSON have it; empty when there is none.
func healthWord(h pb.Health) string {
	if h == pb.Health_HEALTH_UNSPECIFIED {
		return ""
	}
	if name, ok := pb.Health_name[int32(h)]; ok {
		return strings.ToLower(strings.TrimPrefix(name, "HEALTH_"))
	}
	return "unknown"
}

// states are the words of the states, in the order in which they are told.
func states() []string { return []string{"healthy", "degraded", "pending", "unhealthy", "draining"} }

func healthFromWord(word string) pb.Health {
	return pb.Health(pb.Health_value["HEALTH_"+strings.ToUpper(word)])
}

func wordOrNull(h pb.Health) *string { return textOrNull(healthWord(h)) }

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

func controllerToBody(c *pb.Controller) controllerBody {
	body := controllerBody{
		ControllerID: c.GetControllerId(), Region: c.GetRegion(), GRPCEndpoint: c.GetGrpcEndpoint(), WebTransportEndpoint: textOrNull(c.GetWebtransportEndpoint()),
		MaxMeetings: c.GetMaxMeetings(), CurrentMeetings: c.GetCurrentMeetings(), MaxParticipants: c.GetMaxParticipants(), CurrentParticipants: c.GetCurrentParticipants(),
		Health: healthWord(c.GetHealth()), OperatorDraining: c.GetOperatorDraining(), ReportedHealth: healthWord(c.GetReportedHealth()), Stale: c.GetStale(),
		CPUUsagePercent: c.CpuUsagePercent, MemoryUsagePercent: c.MemoryUsagePercent, //nolint:protogetter // Unset is not 0.
		LastHeartbeatAt: c.GetLastHeartbeatAt().AsTime(), CreatedAt: c.GetCreatedAt().AsTime(), UpdatedAt: c.GetUpdatedAt().AsTime(),
		Placement:  placementBody{c.GetPlacement().GetPlaceable(), listed(c.GetPlacement().GetReasons())},
		Generation: c.GetGeneration(), Incarnation: textOrNull(c.GetIncarnation()), Conflicts: c.GetIncarnationConflicts(),
		LastConflictAt: timeOrNull(c.GetLastIncarnationConflictAt()), Drained: c.GetDrained(), AsOf: c.GetAsOf().AsTime(),
	}
	if d := c.GetDrain(); d != nil {
		body.Drain = &drainBody{d.GetSince().AsTime(), timeOrNull(d.GetDeadline()), d.GetReason(), d.GetBy(), d.GetDeadlinePassed()}
	}
	return body
}

func transitionToBody(t *pb.Transition) transitionBody {
	return transitionBody{
		t.GetId(), t.GetControllerId(), t.GetRegion(), t.GetAt().AsTime(), wordOrNull(t.GetFrom()), wordOrNull(t.GetTo()), t.GetCause(), t.GetActor(),
		t.GetReason(), t.GetSilenceMs(), healthWord(t.GetReportedHealth()),
	}
}

func regionToBody(r *pb.Region) regionBody {
	return regionBody{
		r.GetRegion(), r.GetPending(), r.GetHealthy(), r.GetDegraded(), r.GetUnhealthy(), r.GetDraining(),
		capacityToBody(r.GetMeetings()), capacityToBody(r.GetParticipants()), r.GetSurvivesLargestLoss(),
	}
}

func capacityToBody(c *pb.RegionCapacity) capacityBody {
	return capacityBody{c.GetMax(), c.GetCurrent(), c.GetLargest(), c.GetFree(), c.GetFreeWithoutLargest()}
}

func drainedToBody(d *pb.DrainResponse) drainedBody {
	p := d.GetPlan()
	return drainedBody{controllerToBody(d.GetController()), planBody{
		p.GetSafe(), listed(p.GetReasons()), p.GetMeetingsAffected(), p.GetParticipantsAffected(), regionToBody(p.GetBefore()), regionToBody(p.GetAfter()),
	}}
}

// listed is a list also when there is nothing in it, which null is not.
func listed(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}
