package store

import (
	"context"
	"slices"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// regionRow is a region, added up.
type regionRow struct {
	Region              string `db:"region"`
	Pending             int64  `db:"pending"`
	Healthy             int64  `db:"healthy"`
	Degraded            int64  `db:"degraded"`
	Unhealthy           int64  `db:"unhealthy"`
	Draining            int64  `db:"draining"`
	Stale               int64  `db:"stale_controllers"`
	MeetingsMax         int64  `db:"meetings_max"`
	MeetingsCurrent     int64  `db:"meetings_current"`
	MeetingsLargest     int64  `db:"meetings_largest"`
	MeetingsLimits      int64  `db:"meetings_limits"`
	MeetingsLoad        int64  `db:"meetings_load"`
	ParticipantsMax     int64  `db:"participants_max"`
	ParticipantsCurrent int64  `db:"participants_current"`
	ParticipantsLargest int64  `db:"participants_largest"`
	ParticipantsLimits  int64  `db:"participants_limits"`
	ParticipantsLoad    int64  `db:"participants_load"`
	AsOf                dbTime `db:"as_of"` // not in a plan
	// In a plan: the largest that serve without the controller that it is about.
	MeetingsLargestLeft     int64 `db:"meetings_largest_left"`
	ParticipantsLargestLeft int64 `db:"participants_largest_left"`
}

// regionSums adds up rows "f". CAST, because the sum of integers is a number of another kind in one of the databases.
const regionSums = `SELECT region,
	count(*) FILTER (WHERE health_status = 'pending') AS pending, count(*) FILTER (WHERE health_status = 'healthy') AS healthy,
	count(*) FILTER (WHERE health_status = 'degraded') AS degraded, count(*) FILTER (WHERE health_status = 'unhealthy') AS unhealthy,
	count(*) FILTER (WHERE health_status = 'draining') AS draining, count(*) FILTER (WHERE stale) AS stale_controllers,
	CAST(coalesce(sum(max_meetings) FILTER (WHERE health_status IN ('healthy', 'degraded')), 0) AS bigint) AS meetings_max,
	CAST(coalesce(sum(current_meetings) FILTER (WHERE NOT stale), 0) AS bigint) AS meetings_current,
	coalesce(max(max_meetings) FILTER (WHERE health_status IN ('healthy', 'degraded')), 0) AS meetings_largest,
	CAST(sum(max_meetings) AS bigint) AS meetings_limits, CAST(sum(current_meetings) AS bigint) AS meetings_load,
	CAST(coalesce(sum(max_participants) FILTER (WHERE health_status IN ('healthy', 'degraded')), 0) AS bigint) AS participants_max,
	CAST(coalesce(sum(current_participants) FILTER (WHERE NOT stale), 0) AS bigint) AS participants_current,
	coalesce(max(max_participants) FILTER (WHERE health_status IN ('healthy', 'degraded')), 0) AS participants_largest,
	CAST(sum(max_participants) AS bigint) AS participants_limits, CAST(sum(current_participants) AS bigint) AS participants_load `

func (r regionRow) region() service.Region {
	return service.Region{
		Region: r.Region, AsOf: r.AsOf.Time,
		Controllers: map[service.HealthStatus]int64{
			service.HealthPending: r.Pending, service.HealthHealthy: r.Healthy, service.HealthDegraded: r.Degraded,
			service.HealthUnhealthy: r.Unhealthy, service.HealthDraining: r.Draining,
		},
		Stale: r.Stale,
		Meetings: service.RegionCapacity{
			Max: r.MeetingsMax, Current: r.MeetingsCurrent, Largest: r.MeetingsLargest, Limits: r.MeetingsLimits, Load: r.MeetingsLoad,
		},
		Participants: service.RegionCapacity{
			Max: r.ParticipantsMax, Current: r.ParticipantsCurrent, Largest: r.ParticipantsLargest, Limits: r.ParticipantsLimits, Load: r.ParticipantsLoad,
		},
	}
}

// Regions implements [service.Store] and [service.RegionReader].
func (s *Store) Regions(ctx context.Context) ([]service.Region, error) {
	return run(ctx, s, "regions", func(ctx context.Context) ([]service.Region, error) {
		var found []regionRow
		query := regionSums + `, ` + s.dialect.statementNow + ` AS as_of FROM meeting_controllers GROUP BY region ORDER BY region`
		if err := s.read.SelectContext(ctx, &found, query); err != nil {
			return nil, err
		}
		regions := make([]service.Region, 0, len(found))
		for _, r := range found {
			regions = append(regions, r.region())
		}
		return regions, nil
	})
}

// planColumns are the columns of a plan in addition to the sums. The ? is the id of its controller.
const planColumns = `,
	coalesce(max(max_meetings) FILTER (WHERE health_status IN ('healthy', 'degraded') AND controller_id <> ?), 0)
		AS meetings_largest_left,
	coalesce(max(max_participants) FILTER (WHERE health_status IN ('healthy', 'degraded') AND controller_id <> ?), 0)
		AS participants_largest_left `

// planDrain looks at the region of a controller that is locked, with it and without. Two drains in one region, each of
// which is safe by itself, must not both go by what was there before: the second waits for the first. Those of the ids
// assumed are taken for draining in both.
func (s *Store) planDrain(ctx context.Context, tx *sqlx.Tx, c service.Controller, assumed []string) (service.DrainPlan, error) {
	if s.dialect.lockRegion != "" {
		if _, err := tx.ExecContext(ctx, tx.Rebind(s.dialect.lockRegion), c.Region); err != nil {
			return service.DrainPlan{}, err
		}
	}
	drained := append(slices.Clone(assumed), "") // No controller goes by an empty id.
	query, values, err := sqlx.In(regionSums+planColumns+`
		FROM (SELECT controller_id, region, stale, max_meetings, current_meetings, max_participants, current_participants,
		CASE WHEN controller_id IN (?) THEN 'draining' ELSE health_status END AS health_status
		FROM meeting_controllers WHERE region = ?) AS f GROUP BY region`, c.ControllerID, c.ControllerID, drained, c.Region)
	if err != nil {
		return service.DrainPlan{}, err
	}
	var r regionRow
	if err := tx.GetContext(ctx, &r, tx.Rebind(query), values...); err != nil {
		return service.DrainPlan{}, err
	}

	counted := c
	if slices.Contains(assumed, c.ControllerID) {
		counted.Health = service.HealthDraining
	}
	return service.PlanDrain(c, r.region(), r.without(counted)), nil
}

// without is the region when a controller of it drains, by what a plan has read.
func (r regionRow) without(c service.Controller) service.Region {
	left := r.region()
	left.Controllers[c.Health]--
	left.Controllers[service.HealthDraining]++
	if c.Health.IsServing() {
		left.Meetings.Max -= c.MaxMeetings
		left.Participants.Max -= c.MaxParticipants
	}
	left.Meetings.Largest, left.Participants.Largest = r.MeetingsLargestLeft, r.ParticipantsLargestLeft
	return left
}
