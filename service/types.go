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
	// Incarnation names the process among those that go by the id one after the other; empty: it does not say.
	Incarnation string
}

// Registered answers a [Registration]: how often the controller is to send its heartbeats.
type Registered struct {
	FastInterval          time.Duration
	ComprehensiveInterval time.Duration
	Intent                Intent
	// RetryAfter is how long the first heartbeat is to wait; 0: not at all.
	RetryAfter time.Duration
	// Created is whether the controller was not registered before. It is for the limits, and not sent.
	Created bool
}

// Intent is what an operator wishes a controller to do. Its zero value is nothing.
type Intent struct {
	Draining bool
	Deadline time.Time // zero: none
	Reason   string
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
	Incarnation  string // as registered; empty: the controller does not say
}

// ComprehensiveHeartbeat is a fast heartbeat with the machine's load, in percent from 0 to 100.
type ComprehensiveHeartbeat struct {
	FastHeartbeat
	CPUUsagePercent    float64
	MemoryUsagePercent float64
}

// Acknowledged answers a heartbeat: it is committed, and the store's clock read At.
type Acknowledged struct {
	At     time.Time
	Intent Intent
	// Intervals count from now on; those of the zero value stay as they were.
	Intervals Intervals
	// RetryAfter is how long the next heartbeat is to wait, this once, instead of the interval; 0: the interval.
	RetryAfter time.Duration
}

// HeartbeatStream is a caller's wish to send heartbeats over one stream. It names no controller: each heartbeat does.
type HeartbeatStream struct {
	// Subject is the token subject that a stream was admitted for.
	Subject string
}

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
	Drain                *Drain // nil unless an operator is draining it
	Generation           int64  // counts the operators' decisions; never repeats, also after the controller left
	Incarnation          string // empty: the process that registered gave none
	IncarnationConflicts int64  // calls of other processes under the id
	LastConflictAt       *time.Time
	CPUUsagePercent      *float64 // nil until the first comprehensive heartbeat
	MemoryUsagePercent   *float64 // likewise
	LastHeartbeatAt      time.Time
	CreatedAt            time.Time
	UpdatedAt            time.Time
	AsOf                 time.Time // when the store showed all this
}

// Drained reports whether a draining controller has nothing left: it reports neither meetings nor participants. A deadline
// that has passed does not make it so.
func (c Controller) Drained() bool {
	return c.Health == HealthDraining && c.CurrentMeetings == 0 && c.CurrentParticipants == 0
}

// DeadlinePassed reports whether the deadline of an operator's drain has passed, whatever is left.
func (c Controller) DeadlinePassed() bool {
	return c.Drain != nil && !c.Drain.Deadline.IsZero() && !c.AsOf.Before(c.Drain.Deadline)
}

// Drain is an operator's intent, as it was given.
type Drain struct {
	Since    time.Time
	Deadline time.Time // zero: none
	Reason   string
	By       string // the subject of the operator's token
}

// DrainOrder is an operator's wish that a controller take no new meetings.
type DrainOrder struct {
	ControllerID string
	Reason       string
	Deadline     time.Time // zero: none
	// ExpectedGeneration, when not nil, is what the controller's generation has to be.
	ExpectedGeneration *int64
	// DryRun changes nothing and says what would happen.
	DryRun bool
	// Force drains even when that is not safe.
	Force bool
	// AssumeDrained are the ids of controllers that the plan takes for draining already; only with DryRun. Those that are
	// not in the region, or not there, make no difference.
	AssumeDrained []string
}

// Drained answers a [DrainOrder]: the controller as the drain leaves it (as it is, for a dry run), and what that does to
// its region.
type Drained struct {
	Controller Controller
	Plan       DrainPlan
}

// UndrainOrder is an operator's wish to end a drain.
type UndrainOrder struct {
	ControllerID       string
	Reason             string
	ExpectedGeneration *int64 // as in DrainOrder
}

// Deregistration takes a controller out of the fleet.
type Deregistration struct {
	ControllerID string
	// Incarnation is the process that is to leave; empty, which only operators may say: whichever is registered.
	Incarnation        string
	Reason             string
	ExpectedGeneration *int64 // as in DrainOrder
}

// Deregistered answers a [Deregistration].
type Deregistered struct{}

// TransitionQuery selects changes of public state, the oldest first unless NewestFirst is set. Empty strings select everything.
type TransitionQuery struct {
	ControllerID string
	Region       string
	After        int64     // only those with a higher id
	Fingerprint  string    // that of the change After, as its cursor has it; empty: After is only a number
	Before       int64     // only those with a lower id; 0: all
	Since        time.Time // only those at this time or later; zero: all
	Until        time.Time // only those before this time; zero: all
	NewestFirst  bool
	PageSize     int64 // 0: DefaultPageSize; at most MaxPageSize
}

// TransitionPage is a page of changes. NextAfter is what to ask for to go on from here; with the newest first it is
// NextBefore, which is 0 on the last page.
type TransitionPage struct {
	Transitions []Transition
	NextAfter   int64
	NextBefore  int64
	// Next is where to go on. With the newest first it is behind all of the history that the page could show: what comes
	// later follows it.
	Next Cursor
}

// Transition is one change of a controller's public state. It outlives the controller.
type Transition struct {
	ID           int64 // rises with time; 0 when the change was only just made
	ControllerID string
	Region       string
	At           time.Time
	From         HealthStatus // empty when the controller was new
	To           HealthStatus // empty when it left the fleet
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
	Operator    bool    // may change the fleet
	ServiceType *string // nil when the token has none; an empty one is one
}
