package service

import "time"

// RegionQuery selects all regions.
type RegionQuery struct{}

// Regions is the regions that have a controller, in the order of their names.
type Regions struct {
	Regions []Region
	AsOf    time.Time // The store's clock at the earliest read; zero without a region.
}

// Region has the totals of a region's controllers.
type Region struct {
	Region string
	AsOf   time.Time // The store's clock at the read; zero in a plan.
	// Controllers is the number of controllers by state; states without one may be missing.
	Controllers map[HealthStatus]int64
	// Stale is the number of stale controllers in any state.
	Stale        int64
	Meetings     RegionCapacity
	Participants RegionCapacity
}

// RegionCapacity has the totals of limits and load, of meetings or of participants. A serving controller is healthy or
// degraded, and not draining. It may be full.
type RegionCapacity struct {
	// ServingLimit is the sum of the limits of the serving controllers.
	ServingLimit int64
	// RunningLoad is the load of all controllers that are not stale. Draining controllers count, because their load may have to move.
	RunningLoad int64
	// LargestServing is the limit of the largest serving controller.
	LargestServing int64
	// TotalLimit and TotalLoad are the totals of all controllers in any state.
	TotalLimit, TotalLoad int64
}

// IsServing reports whether a controller in this state serves: it is healthy or degraded, and not draining. A serving controller accepts
// meetings only if it also has room; see [Controller.Eligibility].
func (h HealthStatus) IsServing() bool { return h == HealthHealthy || h == HealthDegraded }

// Headroom is the capacity that is not in use, negative if the load exceeds the limits.
func (c RegionCapacity) Headroom() int64 { return c.ServingLimit - c.RunningLoad }

// HeadroomWithoutLargest is the headroom if the largest serving controller failed. It is negative if the load would then exceed the
// limits.
func (c RegionCapacity) HeadroomWithoutLargest() int64 { return c.Headroom() - c.LargestServing }

// ServingCount is the number of serving controllers.
func (r Region) ServingCount() int64 {
	return r.Controllers[HealthHealthy] + r.Controllers[HealthDegraded]
}

// SurvivesLargestLoss reports whether a controller is serving, and without the largest one the others have room for the load.
func (r Region) SurvivesLargestLoss() bool {
	return r.ServingCount() > 0 && r.Meetings.HeadroomWithoutLargest() >= 0 && r.Participants.HeadroomWithoutLargest() >= 0
}
