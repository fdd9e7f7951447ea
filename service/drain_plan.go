package service

import "fmt"

// DrainPlan is what a drain does to the controller's region.
type DrainPlan struct {
	// Reasons are all that speak against the drain; none when it is safe.
	Reasons              []string
	MeetingsAffected     int64
	ParticipantsAffected int64
	Before, After        Region
}

// Safe tells whether those who are left can hold what runs, even when the largest of them fails.
func (p DrainPlan) Safe() bool { return len(p.Reasons) == 0 }

// PlanDrain says what draining c does to its region, which is before with it and after without. A controller that takes
// no meetings can always be drained: nothing is taken away with it.
func PlanDrain(c Controller, before, after Region) DrainPlan {
	plan := DrainPlan{MeetingsAffected: c.CurrentMeetings, ParticipantsAffected: c.CurrentParticipants, Before: before, After: after}
	if !c.Health.Serves() {
		return plan
	}
	if after.Serving() == 0 {
		plan.Reasons = []string{fmt.Sprintf("no controller of %s would be left that takes meetings", after.Region)}
		return plan
	}
	for _, of := range []struct {
		what     string
		capacity RegionCapacity
	}{{"meetings", after.Meetings}, {"participants", after.Participants}} {
		switch {
		case of.capacity.Free() < 0:
			plan.Reasons = append(plan.Reasons, fmt.Sprintf("%s would have room for %d %s, and %d run", after.Region, of.capacity.Max, of.what, of.capacity.Current))
		case of.capacity.FreeWithoutLargest() < 0:
			plan.Reasons = append(plan.Reasons, fmt.Sprintf("%s could not lose its largest controller any more: without that it would have room for %d %s, and %d run",
				after.Region, of.capacity.Max-of.capacity.Largest, of.what, of.capacity.Current))
		}
	}
	return plan
}
