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

// Reasons lists all reasons in their order.
func Reasons() []Reason {
	return []Reason{
		ReasonDraining, ReasonUnhealthy, ReasonPending, ReasonFull, ReasonCoolDown, ReasonLabels, ReasonExcluded, ReasonEndpoint, ReasonDegraded,
	}
}

// Ineligible returns every reason why the controller must not get the meeting; none if it may. The region is not examined, nor
// whether a healthy controller has room: see [Choose].
func Ineligible(c Candidate, r Request) []Reason {
	var reasons []Reason
	add := func(applies bool, reason Reason) {
		if applies {
			reasons = append(reasons, reason)
		}
	}

	add(c.State == StateDraining, ReasonDraining)
	add(c.State == StatePending, ReasonPending)
	add(!slices.Contains([]State{StateHealthy, StateDegraded, StatePending, StateDraining}, c.State), ReasonUnhealthy)
	add(!c.HasRoom(r.ExpectedParticipants), ReasonFull)
	add(c.CoolDown != "", ReasonCoolDown)
	add(!hasLabels(c, r.RequireLabels), ReasonLabels)
	add(slices.Contains(r.ExcludeControllers, c.ID), ReasonExcluded)
	add(c.EndpointError != "", ReasonEndpoint)
	return reasons
}

func hasLabels(c Candidate, labels map[string]string) bool {
	for key, value := range labels {
		if found, ok := c.Labels[key]; !ok || found != value {
			return false
		}
	}
	return true
}
