package service

import "time"

// Registration is the description that a controller registers with. Its numbers are wider than the store's, so that a value out of
// range is refused and does not wrap around.
type Registration struct {
	ControllerID         string
	Region               string
	GRPCEndpoint         string
	WebTransportEndpoint string // Empty: none.
	MaxMeetings          int64
	MaxParticipants      int64
	// Incarnation identifies the process among those that use the id one after the other; empty: unknown.
	Incarnation string
}

// RegistrationResponse is the response to a [Registration]: the heartbeat intervals and the operator's intent.
type RegistrationResponse struct {
	FastInterval          time.Duration
	ComprehensiveInterval time.Duration
	Intent                Intent
	// RetryAfter is the delay before the first heartbeat; 0: none.
	RetryAfter time.Duration
	// Created reports whether the controller was not registered before. The limits need it; it is not sent.
	Created bool
}

// Intent is what an operator wants a controller to do. Its zero value means no intent.
type Intent struct {
	Draining bool
	Deadline time.Time // Zero: none.
	Reason   string
}

// LoadReport is the load in a heartbeat. The maxima in the messages are ignored, because limits change only by registering.
type LoadReport struct {
	CurrentMeetings     int64
	CurrentParticipants int64
}

// FastHeartbeat reports load and state every few seconds.
type FastHeartbeat struct {
	ControllerID string
	Load         *LoadReport // nil: missing, which is refused.
	Health       HealthStatus
	Incarnation  string // As registered; empty: unknown.
}

// ComprehensiveHeartbeat is a fast heartbeat with the machine's load, in percent from 0 to 100.
type ComprehensiveHeartbeat struct {
	FastHeartbeat
	CPUUsagePercent    float64
	MemoryUsagePercent float64
}

// Acknowledgement is the response to a heartbeat that is committed.
type Acknowledgement struct {
	// At is the store's clock, read once the controller's row is locked, before the commit.
	At     time.Time
	Intent Intent
	// Intervals apply from now on. The zero value changes none.
	Intervals Intervals
	// RetryAfter is the delay before the next heartbeat, once, instead of the interval; 0: the interval.
	RetryAfter time.Duration
}

// HeartbeatStream is the request to send heartbeats over one stream. It names no controller; each heartbeat does.
type HeartbeatStream struct {
	// Subject is the token subject of an admitted stream.
	Subject string
}

// MeetingEnded is a media handler's notice that a meeting is over.
type MeetingEnded struct {
	MeetingID string
	Region    string
}

// ControllerQuery selects one controller.
type ControllerQuery struct{ ControllerID string }

// ListQuery selects a page of the fleet in the order of the ids. Empty strings select everything.
type ListQuery struct {
	Region    string
	Health    HealthStatus
	PageSize  int64  // 0: DefaultPageSize; at most MaxPageSize.
	PageToken string // NextPageToken of the previous page.
}

// The sizes of a page of controllers.
const (
	DefaultPageSize = 100
	MaxPageSize     = 1000
)

// ControllerPage is a page of the fleet. NextPageToken is empty on the last page.
type ControllerPage struct {
	Controllers   []Controller
	NextPageToken string
}

// Controller is a meeting controller as stored. All times are the store's.
type Controller struct {
	ControllerID         string
	Region               string
	GRPCEndpoint         string
	WebTransportEndpoint string // Empty: none.
	MaxMeetings          int64
	CurrentMeetings      int64
	MaxParticipants      int64
	CurrentParticipants  int64
	Facts                Facts
	Health               HealthStatus
	Drain                *Drain // nil if no operator is draining it.
	Generation           int64  // Counts operator actions. It never repeats, even after the controller left.
	Incarnation          string // Empty: the registered process named none.
	IncarnationConflicts int64  // Calls of other processes with this id.
	LastConflictAt       *time.Time
	CPUUsagePercent      *float64 // nil until the first comprehensive heartbeat.
	MemoryUsagePercent   *float64 // Likewise.
	LastHeartbeatAt      time.Time
	CreatedAt            time.Time
	UpdatedAt            time.Time
	AsOf                 time.Time // The store's clock when the row was read.
}

// IsDrained reports whether a draining controller has nothing left: it reports neither meetings nor participants. A passed deadline
// does not make a controller drained.
func (c Controller) IsDrained() bool {
	return c.Health == HealthDraining && c.CurrentMeetings == 0 && c.CurrentParticipants == 0
}

// IsPastDeadline reports whether the deadline of an operator's drain has passed, whatever load is left.
func (c Controller) IsPastDeadline() bool {
	return c.Drain != nil && !c.Drain.Deadline.IsZero() && !c.AsOf.Before(c.Drain.Deadline)
}

// Drain is an operator's intent as recorded.
type Drain struct {
	Since    time.Time
	Deadline time.Time // Zero: none.
	Reason   string
	By       string // The subject of the operator's token.
}

// DrainOrder is an operator's request that a controller accepts no new meetings.
type DrainOrder struct {
	ControllerID string
	Reason       string
	Deadline     time.Time // Zero: none.
	// ExpectedGeneration is the generation that the controller must have; nil: any.
	ExpectedGeneration *int64
	// DryRun changes nothing and returns the plan.
	DryRun bool
	// Force drains the controller even if that is not safe.
	Force bool
	// AssumeDrained lists controllers that the plan treats as already draining; only with DryRun. Controllers of other regions, and ids
	// that do not exist, have no effect.
	AssumeDrained []string
}

// DrainResponse is the response to a [DrainOrder]: the controller after the drain (unchanged for a dry run), and the effect on its
// region.
type DrainResponse struct {
	Controller Controller
	Plan       DrainPlan
}

// UndrainOrder is an operator's request to end a drain.
type UndrainOrder struct {
	ControllerID       string
	Reason             string
	ExpectedGeneration *int64 // As in DrainOrder.
}

// Deregistration is the request to remove a controller from the fleet.
type Deregistration struct {
	ControllerID string
	// Incarnation identifies the process that leaves. Empty means any registered process; only operators may leave it empty.
	Incarnation        string
	Reason             string
	ExpectedGeneration *int64 // As in DrainOrder.
}

// DeregistrationResponse is the response to a [Deregistration].
type DeregistrationResponse struct{}

// TransitionQuery selects transitions, the oldest first by default. Empty strings select everything.
type TransitionQuery struct {
	ControllerID string
	Region       string
	After        int64     // Only transitions with a higher id.
	Fingerprint  string    // Fingerprint of the transition After, from its cursor; empty: After is only a number.
	Before       int64     // Only transitions with a lower id; 0: no limit.
	Since        time.Time // Only transitions at this time or later; zero: no limit.
	Until        time.Time // Only transitions before this time; zero: no limit.
	NewestFirst  bool
	PageSize     int64 // 0: DefaultPageSize; at most MaxPageSize.
}

// TransitionPage is a page of transitions. NextAfter is the After of the next request. With the newest first it is NextBefore,
// which is 0 on the last page.
type TransitionPage struct {
	Transitions []Transition
	NextAfter   int64
	NextBefore  int64
	// Next is the cursor of the next request. With the newest first it stands after all of the history that the page could show, so
	// that later transitions follow it.
	Next Cursor
}

// Transition is one entry of the history: a change of a controller's public state or of its staleness. It stays after the
// controller left.
type Transition struct {
	ID           int64 // Increases with time; 0 if the transition has just been made.
	ControllerID string
	Region       string
	At           time.Time
	From         HealthStatus // Empty if the controller was new.
	To           HealthStatus // Empty if it left the fleet.
	Cause        Cause
	Actor        string // The token's subject, or the id of the Global Controller that swept.
	Reason       string
	// Silence is the time from the last heartbeat to the transition; 0 for a new controller.
	Silence time.Duration
	// Reported is the state that the controller had last reported.
	Reported HealthStatus
}
