package service

import "time"

// Registration is what a controller says about itself when it registers. Numbers are wider than the store's, so
// that a value out of range is refused rather than wrapped.
type Registration struct {
	ControllerID         string
	Region               string
	GRPCEndpoint         string
	WebTransportEndpoint string // empty: none
	MaxMeetings          int64
	MaxParticipants      int64
}

// Registered answers a [Registration]: how often the controller is to send its heartbeats.
type Registered struct {
	FastInterval          time.Duration
	ComprehensiveInterval time.Duration
}

// Capacity is a controller's load. The maxima are carried for the wire's sake and ignored: limits change only
// by registering.
type Capacity struct {
	MaxMeetings         int64
	CurrentMeetings     int64
	MaxParticipants     int64
	CurrentParticipants int64
}

// FastHeartbeat reports load and state every few seconds.
type FastHeartbeat struct {
	ControllerID string
	Capacity     *Capacity // nil: missing, which is refused
	Health       HealthStatus
}

// ComprehensiveHeartbeat is a fast heartbeat with the machine's load, in percent from 0 to 100.
type ComprehensiveHeartbeat struct {
	FastHeartbeat
	CPUUsagePercent    float64
	MemoryUsagePercent float64
}

// Acknowledged answers a heartbeat: it is committed, and the store's clock read At.
type Acknowledged struct{ At time.Time }

// HeartbeatStream is a caller's wish to send heartbeats over one stream. It names no controller: each heartbeat does.
type HeartbeatStream struct{}

// MeetingEnded is a media handler's notice that a meeting is over.
type MeetingEnded struct {
	MeetingID string
	Region    string
}

// ControllerQuery asks for one controller.
type ControllerQuery struct{ ControllerID string }

// ListQuery selects a page of the fleet in the order of the ids. Empty strings select everything.
type ListQuery struct {
	Region    string
	Health    HealthStatus
	PageSize  int64  // 0: DefaultPageSize; at most MaxPageSize
	PageToken string // as in the page before
}

// The sizes of a page of controllers.
const (
	DefaultPageSize = 100
	MaxPageSize     = 1000
)

// ControllerPage is a page of the fleet. NextPageToken is empty on the last one.
type ControllerPage struct {
	Controllers   []Controller
	NextPageToken string
}

// Controller is a meeting controller as the store knows it. All times are the store's.
type Controller struct {
	ControllerID         string
	Region               string
	GRPCEndpoint         string
	WebTransportEndpoint string // empty: none
	MaxMeetings          int64
	CurrentMeetings      int64
	MaxParticipants      int64
	CurrentParticipants  int64
	Facts                Facts
	Health               HealthStatus
	CPUUsagePercent      *float64 // nil until the first comprehensive heartbeat
	MemoryUsagePercent   *float64 // likewise
	LastHeartbeatAt      time.Time
	CreatedAt            time.Time
	UpdatedAt            time.Time
}

// Transition is one change of a controller's public state. It outlives the controller.
type Transition struct {
	ControllerID string
	Region       string
	At           time.Time
	From         HealthStatus // empty when the controller was new
	To           HealthStatus
	Cause        Cause
	Actor        string // the token's subject, or the id of the Global Controller whose checker acted
	Reason       string
	// Silence is how long the controller had not been heard when the change was made; 0 for a new one.
	Silence time.Duration
	// Reported is what the controller had last said of itself.
	Reported HealthStatus
}

// Caller is who a verified token speaks for.
type Caller struct {
	Subject     string
	Scopes      []string
	ServiceType *string // nil when the token has none; an empty one is one
}
