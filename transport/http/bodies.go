package httptransport

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"darktower.example/global-controller/service"
)

// health reads a state: a lower-case word, or its number on the gRPC wire, as protobuf's own JSON allows.
type health service.HealthStatus

// UnmarshalJSONFrom implements the decoder's interface.
func (h *health) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	token, err := decoder.ReadToken()
	if err != nil {
		return err
	}
	const refusal = "health must be one of pending, healthy, degraded, unhealthy, draining"
	switch token.Kind() {
	case '"':
		*h = health(token.String())
		if !service.HealthStatus(*h).Valid() {
			return service.Invalid(refusal)
		}
		return nil
	case '0':
		n, err := strconv.ParseInt(token.String(), 10, 32)
		if err != nil {
			return service.Invalid(refusal)
		}
		*h = health(service.HealthStatusFromNumber(int32(n)))
		return nil
	default:
		return service.Invalid(refusal)
	}
}

// count is a whole number. One beyond 64 bits is read as the nearest that there is, so that it is refused as any other
// that is too large: in the order of the fields, and where it matters.
type count int64

// UnmarshalJSONFrom implements the decoder's interface. null is 0, as it is for every other number.
func (c *count) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := decoder.ReadValue()
	if err != nil {
		return err
	}
	if value.Kind() == 'n' {
		*c = 0
		return nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return errors.New("not a whole number")
	}
	*c = count(n)
	return nil
}

type registerBody struct {
	Region               string `json:"region" openapi:"required"`
	GRPCEndpoint         string `json:"grpc_endpoint" openapi:"required"`
	WebTransportEndpoint string `json:"webtransport_endpoint"`
	MaxMeetings          count  `json:"max_meetings" openapi:"required"`
	MaxParticipants      count  `json:"max_participants" openapi:"required"`
	Incarnation          string `json:"incarnation"`
}

type capacityBody struct {
	MaxMeetings         count `json:"max_meetings"`
	CurrentMeetings     count `json:"current_meetings"`
	MaxParticipants     count `json:"max_participants"`
	CurrentParticipants count `json:"current_participants"`
}

type fastBody struct {
	Capacity    *capacityBody `json:"capacity" openapi:"required"`
	Health      health        `json:"health" openapi:"required"`
	Incarnation string        `json:"incarnation"`
}

type comprehensiveBody struct {
	Capacity           *capacityBody `json:"capacity" openapi:"required"`
	Health             health        `json:"health" openapi:"required"`
	CPUUsagePercent    float64       `json:"cpu_usage_percent"`
	MemoryUsagePercent float64       `json:"memory_usage_percent"`
	Incarnation        string        `json:"incarnation"`
}

type registeredBody struct {
	Accepted                         bool   `json:"accepted"`
	Message                          string `json:"message"`
	FastHeartbeatIntervalMs          int64  `json:"fast_heartbeat_interval_ms"`
	ComprehensiveHeartbeatIntervalMs int64  `json:"comprehensive_heartbeat_interval_ms"`
	// OperatorIntent is left out when there is none, for tools that know no such field.
	OperatorIntent *intentBody `json:"operator_intent,omitzero"`
}

type acknowledgedBody struct {
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
	var b registerBody
	err := fromBody(r, &b)
	return service.Registration{
		ControllerID: r.PathValue("id"), Region: b.Region, GRPCEndpoint: b.GRPCEndpoint, WebTransportEndpoint: b.WebTransportEndpoint,
		MaxMeetings: int64(b.MaxMeetings), MaxParticipants: int64(b.MaxParticipants), Incarnation: b.Incarnation,
	}, err
}

func decodeFast(r *http.Request) (service.FastHeartbeat, error) {
	var b fastBody
	if err := fromBody(r, &b); err != nil {
		return fast(r, b), err
	}
	h := fast(r, b)
	return h, requireHealth(b.Health, h.Validate)
}

// requireHealth refuses a heartbeat without a state: JSON, unlike protobuf, distinguishes an omitted state from pending.
// Errors of the other fields come first, as in the contract's table.
func requireHealth(reported health, validate func() error) error {
	if reported != "" {
		return nil
	}
	if err := validate(); err != nil {
		return err
	}
	return service.Invalid("health is required")
}

func decodeComprehensive(r *http.Request) (service.ComprehensiveHeartbeat, error) {
	var b comprehensiveBody
	err := fromBody(r, &b)
	h := service.ComprehensiveHeartbeat{
		FastHeartbeat:      fast(r, fastBody{b.Capacity, b.Health, b.Incarnation}),
		CPUUsagePercent:    b.CPUUsagePercent,
		MemoryUsagePercent: b.MemoryUsagePercent,
	}
	if err != nil {
		return h, err
	}
	return h, requireHealth(b.Health, h.Validate)
}

func fast(r *http.Request, b fastBody) service.FastHeartbeat {
	h := service.FastHeartbeat{ControllerID: r.PathValue("id"), Health: service.HealthStatus(b.Health), Incarnation: b.Incarnation}
	if b.Capacity != nil {
		h.Capacity = &service.Capacity{
			MaxMeetings: int64(b.Capacity.MaxMeetings), CurrentMeetings: int64(b.Capacity.CurrentMeetings),
			MaxParticipants: int64(b.Capacity.MaxParticipants), CurrentParticipants: int64(b.Capacity.CurrentParticipants),
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
	q := service.ListQuery{Region: values.Get("region"), Health: service.HealthStatus(values.Get("health")), PageToken: values.Get("page_token")}
	q.PageSize, err = pageSize(values)
	return q, err
}

// fromQuery reads the parameters of a query strictly: what cannot be read would be passed over, and the whole fleet
// listed instead of a part.
func fromQuery(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, unreadable("the query cannot be read")
	}
	for name, given := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, unreadable("unknown parameter " + shownName(name))
		case len(given) > 1:
			return nil, unreadable("repeated parameter " + name)
		}
	}
	return values, nil
}

// pageSize is 0 when none is given.
func pageSize(values url.Values) (int64, error) {
	given := values.Get("page_size")
	if given == "" {
		return 0, nil
	}
	size, err := strconv.ParseInt(given, 10, 64)
	if err != nil || size < 1 {
		return 0, unreadable("page_size must be between 1 and " + strconv.Itoa(service.MaxPageSize))
	}
	return size, nil
}

func encodeRegistered(r service.Registered) any {
	return registeredBody{true, "Registration successful", r.FastInterval.Milliseconds(), r.ComprehensiveInterval.Milliseconds(), intentToBody(r.Intent)}
}

func encodeAcknowledged(a service.Acknowledged) any {
	return acknowledgedBody{true, a.At.UTC().Truncate(time.Second), intentToBody(a.Intent)}
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
	placement := c.Placement()
	body := controllerBody{
		ControllerID: c.ControllerID, Region: c.Region, GRPCEndpoint: c.GRPCEndpoint,
		MaxMeetings: c.MaxMeetings, CurrentMeetings: c.CurrentMeetings, MaxParticipants: c.MaxParticipants, CurrentParticipants: c.CurrentParticipants,
		Health: health(c.Health), OperatorDraining: c.Facts.OperatorDraining, ReportedHealth: health(c.Facts.Reported), Stale: c.Facts.Stale,
		CPUUsagePercent: c.CPUUsagePercent, MemoryUsagePercent: c.MemoryUsagePercent,
		LastHeartbeatAt: c.LastHeartbeatAt.UTC(), CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(),
		Placement: placementBody{placement.Placeable, placement.Reasons}, Generation: c.Generation, Conflicts: c.IncarnationConflicts,
		Drained: c.Drained(),
	}
	if c.WebTransportEndpoint != "" {
		body.WebTransportEndpoint = &c.WebTransportEndpoint
	}
	if c.Incarnation != "" {
		body.Incarnation = &c.Incarnation
	}
	if c.Drain != nil {
		body.Drain = &drainBody{c.Drain.Since.UTC(), timeOrNull(c.Drain.Deadline), c.Drain.Reason, c.Drain.By, c.DeadlinePassed()}
	}
	if c.LastConflictAt != nil {
		body.LastConflictAt = timeOrNull(*c.LastConflictAt)
	}
	return body
}
