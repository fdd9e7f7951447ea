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

// RegionCapacity has the totals of limits and load, of meetings or of participants. A controller serves if it is healthy or degraded.
type RegionCapacity struct {
	// Max is the sum of the limits of the serving controllers.
	Max int64
	// Current is the load of all controllers that are not stale. Draining controllers count, because their load may have to move.
	Current int64
	// Largest is the limit of the largest serving controller.
	Largest int64
	// Limits and Load are the totals of all controllers in any state.
	Limits, Load int64
}

// IsServing reports whether a controller in this state accepts meetings.
func (h HealthStatus) IsServing() bool { return h == HealthHealthy || h == HealthDegraded }

// Free is the free capacity, negative if the load exceeds the limits.
func (c RegionCapacity) Free() int64 { return c.Max - c.Current }

// FreeWithoutLargest is the free capacity if the largest serving controller failed, negative if the load would then exceed the limits.
func (c RegionCapacity) FreeWithoutLargest() int64 { return c.Free() - c.Largest }

// ServingCount is the number of controllers that accept meetings.
func (r Region) ServingCount() int64 {
	return r.Controllers[HealthHealthy] + r.Controllers[HealthDegraded]
}

// SurvivesLargestLoss reports whether a controller serves and the remaining ones have room for the load without the largest one.
func (r Region) SurvivesLargestLoss() bool {
	return r.ServingCount() > 0 && r.Meetings.FreeWithoutLargest() >= 0 && r.Participants.FreeWithoutLargest() >= 0
}
