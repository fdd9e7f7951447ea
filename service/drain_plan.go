package service

import "fmt"

// DrainPlan is the effect of a drain on the controller's region.
type DrainPlan struct {
	// Reasons lists every reason why the drain is not safe; empty if it is.
	Reasons              []string
	MeetingsAffected     int64
	ParticipantsAffected int64
	Before, After        Region
}

// IsSafe reports whether the remaining controllers have room for the current load, even if the largest of them fails.
func (p DrainPlan) IsSafe() bool { return len(p.Reasons) == 0 }

// PlanDrain returns the effect of draining c on its region; before is the region with c, after without it. A controller that is not serving
// can always be drained: its drain removes no capacity. A full controller still serves, so its drain can be refused.
func PlanDrain(c Controller, before, after Region) DrainPlan {
	plan := DrainPlan{
		MeetingsAffected:     c.CurrentMeetings,
		ParticipantsAffected: c.CurrentParticipants,
		Before:               before,
		After:                after,
	}
	if !c.Health.IsServing() {
		return plan
	}
	if after.ServingCount() == 0 {
		plan.Reasons = []string{fmt.Sprintf("no other controller of %s is healthy or degraded", after.Region)}
		return plan
	}

	plan.Reasons = append(shortages(after.Region, "meetings", after.Meetings), shortages(after.Region, "participants", after.Participants)...)
	return plan
}

// shortages returns the reasons why a region would be short of headroom; what is "meetings" or "participants".
func shortages(region, what string, capacity RegionCapacity) []string {
	switch {
	case capacity.Headroom() < 0:
		return []string{fmt.Sprintf("%s would have room for %d %s (%d are running)", region, capacity.ServingLimit, what, capacity.RunningLoad)}
	case capacity.HeadroomWithoutLargest() < 0:
		return []string{fmt.Sprintf(
			"without its largest controller, %s would have room for %d %s (%d are running)",
			region, capacity.ServingLimit-capacity.LargestServing, what, capacity.RunningLoad,
		)}
	default:
		return nil
	}
}
