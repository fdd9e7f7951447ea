package service

import (
	"context"
	"fmt"
	"time"
)

// RegionQuery asks for all regions.
type RegionQuery struct{}

// Regions are those that have a controller, in the order of their names.
type Regions struct {
	Regions []Region
	AsOf    time.Time // when the store showed them, by its own clock; zero without a region
}

// Region is a region's controllers, added up.
type Region struct {
	Region string
	AsOf   time.Time // when the store showed it, by its own clock; zero in a plan
	// Controllers are how many there are in each state; states without one may be left out.
	Controllers map[HealthStatus]int64
	// Stale is how many of them are stale, whatever their state.
	Stale        int64
	Meetings     RegionCapacity
	Participants RegionCapacity
}

// RegionCapacity adds up the limits of the controllers that serve, and what runs.
type RegionCapacity struct {
	// Max is what the serving controllers may hold together.
	Max int64
	// Current is what runs on all controllers that are not stale. Those that drain count: what they hold may have to go
	// elsewhere.
	Current int64
	// Largest is the limit of the serving controller that may hold the most.
	Largest int64
	// Limits and Load are those of all controllers, whatever their state.
	Limits, Load int64
}

// Serves tells whether a controller in this state takes meetings.
func (h HealthStatus) Serves() bool { return h == HealthHealthy || h == HealthDegraded }

// Free is what could be taken on, negative when more runs than may.
func (c RegionCapacity) Free() int64 { return c.Max - c.Current }

// FreeWithoutLargest is what would be free if the largest serving controller failed, negative when what runs would not
// have room.
func (c RegionCapacity) FreeWithoutLargest() int64 { return c.Free() - c.Largest }

// Serving is how many controllers take meetings.
func (r Region) Serving() int64 { return r.Controllers[HealthHealthy] + r.Controllers[HealthDegraded] }

// SurvivesLargestLoss tells whether a controller serves and the others could hold what runs without the largest one.
func (r Region) SurvivesLargestLoss() bool {
	return r.Serving() > 0 && r.Meetings.FreeWithoutLargest() >= 0 && r.Participants.FreeWithoutLargest() >= 0
}

func (c *controllers) ListRegions(ctx context.Context, _ RegionQuery) (Regions, error) {
	found, err := c.store.Regions(ctx)
	if err != nil {
		return Regions{}, fmt.Errorf("list regions: %w", err)
	}

	regions := Regions{Regions: found}
	for _, r := range found {
		if regions.AsOf.IsZero() || r.AsOf.Before(regions.AsOf) {
			regions.AsOf = r.AsOf
		}
	}
	return regions, nil
}
