package placement

// State is the public state of a controller.
type State string

// The public states. Only healthy and degraded controllers are eligible; an unknown state counts as unhealthy.
const (
	StatePending   State = "pending"
	StateHealthy   State = "healthy"
	StateDegraded  State = "degraded"
	StateUnhealthy State = "unhealthy"
	StateDraining  State = "draining"
)

// Size is an amount of work: a load, a limit, or the demand of one meeting.
type Size struct {
	Meetings     int64
	Participants int64
}

// Plus returns the sum of two sizes.
func (s Size) Plus(other Size) Size {
	return Size{Meetings: s.Meetings + other.Meetings, Participants: s.Participants + other.Participants}
}

// max returns the larger of two sizes, in each dimension.
func (s Size) max(other Size) Size {
	return Size{Meetings: max(s.Meetings, other.Meetings), Participants: max(s.Participants, other.Participants)}
}

// fits reports whether the size is within a limit.
func (s Size) fits(limit Size) bool {
	return s.Meetings <= limit.Meetings && s.Participants <= limit.Participants
}

// Candidate is a controller that may get a meeting.
type Candidate struct {
	ID     string
	Region string
	State  State
	Labels map[string]string

	// Limit is what the controller accepts at most.
	Limit Size
	// Reported is the load of its last heartbeat. Deployed controllers always report 0.
	Reported Size
	// SinceReport is what was assigned to it after that heartbeat, reservations included.
	SinceReport Size
	// Assigned is all that is assigned to it, reservations included.
	Assigned Size

	// CoolDown is why the controller gets no meeting for some time after it refused one; empty: it does not cool down.
	CoolDown string
	// EndpointError is why its endpoint must not be called; empty: the endpoint is allowed.
	EndpointError string
}

// Used is the controller's load: what it reported and what was assigned since, or everything that is assigned to it,
// whichever is more. Reports lag, and some controllers report nothing, so neither alone is enough.
func (c *Candidate) Used() Size { return c.Reported.Plus(c.SinceReport).max(c.Assigned) }

// Load is the used fraction of the controller's limit, of meetings or of participants, whichever is more. It is 0 for an idle
// controller, 1 for a full one, and more than 1 for one that has more than it accepts. Without a limit there is no room: 1.
func (c *Candidate) Load() float64 {
	used := c.Used()
	return max(fraction(used.Meetings, c.Limit.Meetings), fraction(used.Participants, c.Limit.Participants))
}

func fraction(used, limit int64) float64 {
	if limit <= 0 {
		return 1
	}
	return float64(used) / float64(limit)
}

// HasRoom reports whether the controller's limit allows a meeting with the given number of participants.
func (c *Candidate) HasRoom(participants int64) bool {
	return c.Used().Plus(Size{Meetings: 1, Participants: participants}).fits(c.Limit)
}
