package placement

import (
	"slices"
)

// Request is a meeting that needs a controller.
type Request struct {
	// Region is where the meeting takes place.
	Region string
	// SpillRegions are tried in this order if no controller of Region is eligible.
	SpillRegions []string
	// ExpectedParticipants is 0 if unknown.
	ExpectedParticipants int64
	// RequireLabels are labels that the controller must have.
	RequireLabels map[string]string
	// PreferLabels are labels that decide between controllers of the same state.
	PreferLabels map[string]string
	// ExcludeControllers are ids that must not be chosen.
	ExcludeControllers []string
}

// Reason is why a controller is not eligible.
type Reason string

// The reasons, in the order in which they are listed.
const (
	ReasonDraining  Reason = "draining"
	ReasonUnhealthy Reason = "unhealthy"
	ReasonPending   Reason = "pending"
	ReasonFull      Reason = "full"
	ReasonCoolDown  Reason = "cooling down"
	ReasonLabels    Reason = "without a required label"
	ReasonExcluded  Reason = "excluded"
	ReasonEndpoint  Reason = "with an endpoint that is not allowed"
	// ReasonDegraded applies to degraded controllers while a healthy one has room.
	ReasonDegraded Reason = "degraded"
)

var orderedReasons = [...]Reason{
	ReasonDraining, ReasonUnhealthy, ReasonPending, ReasonFull, ReasonCoolDown, ReasonLabels, ReasonExcluded, ReasonEndpoint, ReasonDegraded,
}

// Reasons lists all reasons in their order.
func Reasons() []Reason { return slices.Clone(orderedReasons[:]) }

// Ineligible returns every reason why the controller must not get the meeting; none if it may. The region is not examined, nor
// whether a healthy controller has room: see [Choose].
func Ineligible(c Candidate, r Request) []Reason {
	var reasons []Reason
	for _, reason := range Reasons() {
		if applies(reason, &c, &r) {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// firstReason returns the first reason why a controller is not eligible.
func firstReason(c *Candidate, r *Request) (reason Reason, isEligible bool) {
	for _, reason := range orderedReasons {
		if applies(reason, c, r) {
			return reason, false
		}
	}
	return "", true
}

func isEligible(c *Candidate, r *Request) bool {
	_, isEligible := firstReason(c, r)
	return isEligible
}

// applies is the one rule of eligibility for a meeting. The store checks again that the controller is still serving.
func applies(reason Reason, c *Candidate, r *Request) bool {
	switch reason {
	case ReasonDraining:
		return c.State == StateDraining
	case ReasonUnhealthy:
		return c.State != StateHealthy && c.State != StateDegraded && c.State != StatePending && c.State != StateDraining
	case ReasonPending:
		return c.State == StatePending
	case ReasonFull:
		return !c.HasRoom(r.ExpectedParticipants)
	case ReasonCoolDown:
		return c.CoolDown != ""
	case ReasonLabels:
		return !hasLabels(c, r.RequireLabels)
	case ReasonExcluded:
		return slices.Contains(r.ExcludeControllers, c.ID)
	case ReasonEndpoint:
		return c.EndpointError != ""
	default:
		return false // ReasonDegraded depends on the other controllers.
	}
}

func hasLabels(c *Candidate, labels map[string]string) bool {
	for key, value := range labels {
		if found, ok := c.Labels[key]; !ok || found != value {
			return false
		}
	}
	return true
}
