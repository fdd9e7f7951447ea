package store

import (
	"context"

	"darktower.example/global-controller/service"
)

// regionRow has the sums of a region.
type regionRow struct {
	Region                     string `db:"region"`
	Pending                    int64  `db:"pending"`
	Healthy                    int64  `db:"healthy"`
	Degraded                   int64  `db:"degraded"`
	Unhealthy                  int64  `db:"unhealthy"`
	Draining                   int64  `db:"draining"`
	Stale                      int64  `db:"stale_controllers"`
	MeetingsServingLimit       int64  `db:"meetings_max"`
	MeetingsRunningLoad        int64  `db:"meetings_current"`
	MeetingsLargestServing     int64  `db:"meetings_largest"`
	MeetingsTotalLimit         int64  `db:"meetings_limits"`
	MeetingsTotalLoad          int64  `db:"meetings_load"`
	ParticipantsServingLimit   int64  `db:"participants_max"`
	ParticipantsRunningLoad    int64  `db:"participants_current"`
	ParticipantsLargestServing int64  `db:"participants_largest"`
	ParticipantsTotalLimit     int64  `db:"participants_limits"`
	ParticipantsTotalLoad      int64  `db:"participants_load"`
	AsOf                       dbTime `db:"as_of"` // not in a drain plan
	// In a drain plan: the largest limits of the other serving controllers.
	MeetingsLargestLeft     int64 `db:"meetings_largest_left"`
	ParticipantsLargestLeft int64 `db:"participants_largest_left"`
}

// regionSumsSQL sums the controllers of each region. The casts are needed because PostgreSQL's sum of integers is a numeric.
const regionSumsSQL = `SELECT region,
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
	region := service.Region{
		Region: r.Region,
		AsOf:   r.AsOf.Time,
		Stale:  r.Stale,
		Controllers: map[service.HealthStatus]int64{
			service.HealthPending:   r.Pending,
			service.HealthHealthy:   r.Healthy,
			service.HealthDegraded:  r.Degraded,
			service.HealthUnhealthy: r.Unhealthy,
			service.HealthDraining:  r.Draining,
		},
	}

	region.Meetings = service.RegionCapacity{
		ServingLimit:   r.MeetingsServingLimit,
		RunningLoad:    r.MeetingsRunningLoad,
		LargestServing: r.MeetingsLargestServing,
		TotalLimit:     r.MeetingsTotalLimit,
		TotalLoad:      r.MeetingsTotalLoad,
	}
	region.Participants = service.RegionCapacity{
		ServingLimit:   r.ParticipantsServingLimit,
		RunningLoad:    r.ParticipantsRunningLoad,
		LargestServing: r.ParticipantsLargestServing,
		TotalLimit:     r.ParticipantsTotalLimit,
		TotalLoad:      r.ParticipantsTotalLoad,
	}

	return region
}

// Regions implements [service.Store] and [service.RegionReader].
func (s *Store) Regions(ctx context.Context) ([]service.Region, error) {
	return run(ctx, s, "regions", func(ctx context.Context) ([]service.Region, error) {
		var found []regionRow
		query := regionSumsSQL + `, ` + s.dialect.statementNowSQL + ` AS as_of FROM meeting_controllers GROUP BY region ORDER BY region`
		if err := s.readDB.SelectContext(ctx, &found, query); err != nil {
			return nil, err
		}

		regions := make([]service.Region, 0, len(found))
		for _, r := range found {
			regions = append(regions, r.region())
		}
		return regions, nil
	})
}
