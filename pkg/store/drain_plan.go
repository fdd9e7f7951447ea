package store

import (
	"context"
	"slices"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// planColumnsSQL are the columns of a plan besides the sums. Each ? is the id of the controller to drain.
const planColumnsSQL = `,
	coalesce(max(max_meetings) FILTER (WHERE health_status IN ('healthy', 'degraded') AND controller_id <> ?), 0)
		AS meetings_largest_left,
	coalesce(max(max_participants) FILTER (WHERE health_status IN ('healthy', 'degraded') AND controller_id <> ?), 0)
		AS participants_largest_left `

// planDrain plans the drain of a controller whose row is locked. It also locks the region: two drains that are each safe by
// themselves must not both rely on the capacity that was there before. Controllers whose ids are in assumedDrained count
// as draining before and after the drain.
func (s *Store) planDrain(ctx context.Context, tx *sqlx.Tx, c service.Controller, assumedDrained []string) (
	service.DrainPlan, error,
) {
	if s.dialect.lockRegionSQL != "" {
		if _, err := tx.ExecContext(ctx, tx.Rebind(s.dialect.lockRegionSQL), c.Region); err != nil {
			return service.DrainPlan{}, err
		}
	}

	drainedIDs := append(slices.Clone(assumedDrained), "") // A list must not be empty; no controller has an empty id.
	query, values, err := sqlx.In(regionSumsSQL+planColumnsSQL+`
		FROM (SELECT controller_id, region, stale, max_meetings, current_meetings, max_participants, current_participants,
		CASE WHEN controller_id IN (?) THEN 'draining' ELSE health_status END AS health_status
		FROM meeting_controllers WHERE region = ?) AS f GROUP BY region`, c.ControllerID, c.ControllerID, drainedIDs, c.Region)
	if err != nil {
		return service.DrainPlan{}, err
	}
	var r regionRow
	if err := tx.GetContext(ctx, &r, tx.Rebind(query), values...); err != nil {
		return service.DrainPlan{}, err
	}

	counted := c
	if slices.Contains(assumedDrained, c.ControllerID) {
		counted.Health = service.HealthDraining
	}
	return service.PlanDrain(c, r.region(), r.regionAfterDrain(counted)), nil
}

// regionAfterDrain returns the region after the drain of one of its controllers.
func (r regionRow) regionAfterDrain(c service.Controller) service.Region {
	after := r.region()
	after.Controllers[c.Health]--
	after.Controllers[service.HealthDraining]++
	if c.Health.IsServing() {
		after.Meetings.ServingLimit -= c.MaxMeetings
		after.Participants.ServingLimit -= c.MaxParticipants
	}

	after.Meetings.LargestServing = r.MeetingsLargestLeft
	after.Participants.LargestServing = r.ParticipantsLargestLeft
	return after
}
