package httptransport

import (
	"net/http"
	"time"

	"darktower.example/global-controller/service"
)

type registrationBody struct {
	Region               string `json:"region" openapi:"required"`
	GRPCEndpoint         string `json:"grpc_endpoint" openapi:"required"`
	WebTransportEndpoint string `json:"webtransport_endpoint"`
	MaxMeetings          count  `json:"max_meetings" openapi:"required"`
	MaxParticipants      count  `json:"max_participants" openapi:"required"`
	Incarnation          string `json:"incarnation"`
}

// capacityBody is the load in a heartbeat. The maxima are accepted and ignored, because limits change only by registering.
type capacityBody struct {
	MaxMeetings         count `json:"max_meetings"`
	CurrentMeetings     count `json:"current_meetings"`
	MaxParticipants     count `json:"max_participants"`
	CurrentParticipants count `json:"current_participants"`
}

type fastHeartbeatBody struct {
	Capacity    *capacityBody `json:"capacity" openapi:"required"`
	Health      health        `json:"health" openapi:"required"`
	Incarnation string        `json:"incarnation"`
}

type comprehensiveHeartbeatBody struct {
	Capacity           *capacityBody `json:"capacity" openapi:"required"`
	Health             health        `json:"health" openapi:"required"`
	CPUUsagePercent    float64       `json:"cpu_usage_percent"`
	MemoryUsagePercent float64       `json:"memory_usage_percent"`
	Incarnation        string        `json:"incarnation"`
}

type registrationResponseBody struct {
	Accepted                         bool   `json:"accepted"`
	Message                          string `json:"message"`
	FastHeartbeatIntervalMs          int64  `json:"fast_heartbeat_interval_ms"`
	ComprehensiveHeartbeatIntervalMs int64  `json:"comprehensive_heartbeat_interval_ms"`
	// OperatorIntent is omitted if there is none, for tools that do not know the field.
	OperatorIntent *intentBody `json:"operator_intent,omitzero"`
}

type acknowledgementBody struct {
	Acknowledged   bool        `json:"acknowledged"`
	Timestamp      time.Time   `json:"timestamp"`
	OperatorIntent *intentBody `json:"operator_intent,omitzero"`
}

type placementBody struct {
	Placeable bool     `json:"placeable"`
	Reasons   []string `json:"reasons"`
}

type controllerBody struct {
	ControllerID         string        `json:"controller_id"`
	Region               string        `json:"region"`
	GRPCEndpoint         string        `json:"grpc_endpoint"`
	WebTransportEndpoint *string       `json:"webtransport_endpoint"`
	MaxMeetings          int64         `json:"max_meetings"`
	CurrentMeetings      int64         `json:"current_meetings"`
	MaxParticipants      int64         `json:"max_participants"`
	CurrentParticipants  int64         `json:"current_participants"`
	Health               health        `json:"health"`
	OperatorDraining     bool          `json:"operator_draining"`
	ReportedHealth       health        `json:"reported_health"`
	Stale                bool          `json:"stale"`
	CPUUsagePercent      *float64      `json:"cpu_usage_percent"`
	MemoryUsagePercent   *float64      `json:"memory_usage_percent"`
	LastHeartbeatAt      time.Time     `json:"last_heartbeat_at"`
	CreatedAt            time.Time     `json:"created_at"`
	UpdatedAt            time.Time     `json:"updated_at"`
	Placement            placementBody `json:"placement"`
	Drain                *drainBody    `json:"drain"`
	Generation           int64         `json:"generation"`
	Incarnation          *string       `json:"incarnation"`
	Conflicts            int64         `json:"incarnation_conflicts"`
	LastConflictAt       *time.Time    `json:"last_incarnation_conflict_at"`
	Drained              bool          `json:"drained"`
}

type controllersBody struct {
	Controllers   []controllerBody `json:"controllers"`
	NextPageToken string           `json:"next_page_token"`
}

func decodeRegistration(r *http.Request) (service.Registration, error) {
	var b registrationBody
	err := fromBody(r, &b)
	return service.Registration{
		ControllerID:         r.PathValue("id"),
		Region:               b.Region,
		GRPCEndpoint:         b.GRPCEndpoint,
		WebTransportEndpoint: b.WebTransportEndpoint,
		MaxMeetings:          int64(b.MaxMeetings),
		MaxParticipants:      int64(b.MaxParticipants),
		Incarnation:          b.Incarnation,
	}, err
}

func decodeFastHeartbeat(r *http.Request) (service.FastHeartbeat, error) {
	var b fastHeartbeatBody
	if err := fromBody(r, &b); err != nil {
		return fastHeartbeatFromBody(r, b), err
	}
	h := fastHeartbeatFromBody(r, b)
	return h, requireHealth(b.Health, h.Validate)
}

// requireHealth refuses a heartbeat without a state: JSON, unlike protobuf, distinguishes an omitted state from pending. Errors of
// the other fields come first.
func requireHealth(reported health, validate func() error) error {
	if reported != "" {
		return nil
	}
	if err := validate(); err != nil {
		return err
	}
	return service.Invalid("health is required")
}

func decodeComprehensiveHeartbeat(r *http.Request) (service.ComprehensiveHeartbeat, error) {
	var b comprehensiveHeartbeatBody
	err := fromBody(r, &b)
	h := service.ComprehensiveHeartbeat{
		FastHeartbeat:      fastHeartbeatFromBody(r, fastHeartbeatBody{Capacity: b.Capacity, Health: b.Health, Incarnation: b.Incarnation}),
		CPUUsagePercent:    b.CPUUsagePercent,
		MemoryUsagePercent: b.MemoryUsagePercent,
	}
	if err != nil {
		return h, err
	}
	return h, requireHealth(b.Health, h.Validate)
}

func fastHeartbeatFromBody(r *http.Request, b fastHeartbeatBody) service.FastHeartbeat {
	h := service.FastHeartbeat{
		ControllerID: r.PathValue("id"),
		Health:       service.HealthStatus(b.Health),
		Incarnation:  b.Incarnation,
	}
	if b.Capacity != nil {
		h.Load = &service.LoadReport{
			CurrentMeetings:     int64(b.Capacity.CurrentMeetings),
			CurrentParticipants: int64(b.Capacity.CurrentParticipants),
		}
	}
	return h
}

func decodeControllerQuery(r *http.Request) (service.ControllerQuery, error) {
	return service.ControllerQuery{ControllerID: r.PathValue("id")}, nil
}

func decodeListQuery(r *http.Request) (service.ListQuery, error) {
	values, err := fromQuery(r, "region", "health", "page_size", "page_token")
	if err != nil {
		return service.ListQuery{}, err
	}
	q := service.ListQuery{
		Region:    values.Get("region"),
		Health:    service.HealthStatus(values.Get("health")),
		PageToken: values.Get("page_token"),
	}
	q.PageSize, err = pageSize(values)
	return q, err
}

func encodeRegistrationResponse(r service.RegistrationResponse) any {
	return registrationResponseBody{
		Accepted:                         true,
		Message:                          "Registration successful",
		FastHeartbeatIntervalMs:          r.FastInterval.Milliseconds(),
		ComprehensiveHeartbeatIntervalMs: r.ComprehensiveInterval.Milliseconds(),
		OperatorIntent:                   intentToBody(r.Intent),
	}
}

func encodeAcknowledgement(a service.Acknowledgement) any {
	return acknowledgementBody{
		Acknowledged:   true,
		Timestamp:      a.At.UTC().Truncate(time.Second),
		OperatorIntent: intentToBody(a.Intent),
	}
}

func encodeController(c service.Controller) any { return controllerToBody(c) }

func encodePage(p service.ControllerPage) any {
	body := controllersBody{Controllers: make([]controllerBody, 0, len(p.Controllers)), NextPageToken: p.NextPageToken}
	for _, c := range p.Controllers {
		body.Controllers = append(body.Controllers, controllerToBody(c))
	}
	return body
}

func controllerToBody(c service.Controller) controllerBody {
	eligibility := c.Eligibility()
	body := controllerBody{
		ControllerID:        c.ControllerID,
		Region:              c.Region,
		GRPCEndpoint:        c.GRPCEndpoint,
		MaxMeetings:         c.MaxMeetings,
		CurrentMeetings:     c.CurrentMeetings,
		MaxParticipants:     c.MaxParticipants,
		CurrentParticipants: c.CurrentParticipants,
		Health:              health(c.Health),
		OperatorDraining:    c.Facts.OperatorDraining,
		ReportedHealth:      health(c.Facts.Reported),
		Stale:               c.Facts.Stale,
		CPUUsagePercent:     c.CPUUsagePercent,
		MemoryUsagePercent:  c.MemoryUsagePercent,
		LastHeartbeatAt:     c.LastHeartbeatAt.UTC(),
		CreatedAt:           c.CreatedAt.UTC(),
		UpdatedAt:           c.UpdatedAt.UTC(),
		Placement:           placementBody{Placeable: eligibility.Eligible, Reasons: eligibility.Reasons},
		Generation:          c.Generation,
		Conflicts:           c.IncarnationConflicts,
		Drained:             c.IsDrained(),
	}

	if c.WebTransportEndpoint != "" {
		body.WebTransportEndpoint = &c.WebTransportEndpoint
	}
	if c.Incarnation != "" {
		body.Incarnation = &c.Incarnation
	}
	if c.Drain != nil {
		body.Drain = &drainBody{
			Since:          c.Drain.Since.UTC(),
			Deadline:       timeOrNull(c.Drain.Deadline),
			Reason:         c.Drain.Reason,
			By:             c.Drain.By,
			DeadlinePassed: c.IsPastDeadline(),
		}
	}
	if c.LastConflictAt != nil {
		body.LastConflictAt = timeOrNull(*c.LastConflictAt)
	}
	return body
}
