package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// namedAtOnce keeps statements below the databases' limits on parameters.
const namedAtOnce = 1000

// Changes implements [service.ChangeSource].
func (s *Store) Changes(ctx context.Context, after int64, missing []int64, limit int) (service.ChangePage, error) {
	return run(ctx, s, "changes", func(ctx context.Context) (none service.ChangePage, _ error) {
		var ends struct {
			AsOf   dbTime `db:"as_of"`
			Oldest int64  `db:"oldest"`
			Newest int64  `db:"newest"`
		}
		// The clock first: what was committed before it is in what is read then.
		if err := s.watch.GetContext(ctx, &ends, `SELECT `+s.dialect.now+` AS as_of, coalesce((SELECT min(id) FROM controller_transitions), 0) AS oldest,
			coalesce((SELECT max(id) FROM controller_transitions), 0) AS newest`); err != nil {
			return none, err
		}
		page := service.ChangePage{AsOf: ends.AsOf.Time, Oldest: ends.Oldest, Newest: ends.Newest}
		var found []transitionRow
		for some := range slices.Chunk(missing, namedAtOnce) {
			query, values, err := sqlx.In(selectTransitions+` WHERE id IN (?) ORDER BY id`, some)
			if err != nil {
				return none, err
			}
			var late []transitionRow
			if err := s.watch.SelectContext(ctx, &late, s.watch.Rebind(query), values...); err != nil {
				return none, err
			}
			found = append(found, late...)
		}
		var later []transitionRow
		if err := s.watch.SelectContext(ctx, &later, s.watch.Rebind(selectTransitions+` WHERE id > ? ORDER BY id LIMIT ?`), after, limit); err != nil {
			return none, err
		}
		for _, r := range append(found, later...) {
			page.Transitions = append(page.Transitions, r.transition())
		}
		return page, nil
	})
}

// ControllersByID implements [service.ChangeSource].
func (s *Store) ControllersByID(ctx context.Context, ids []string) ([]service.Controller, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return run(ctx, s, "controllers", func(ctx context.Context) (found []service.Controller, _ error) {
		for some := range slices.Chunk(ids, namedAtOnce) {
			query, values, err := sqlx.In(s.dialect.showControllers()+` WHERE controller_id IN (?)`, some)
			if err != nil {
				return nil, err
			}
			if found, err = s.appendControllers(ctx, found, query, values...); err != nil {
				return nil, err
			}
		}
		return found, nil
	})
}

// updatedColumns are what [service.ControllerUpdate] has.
const updatedColumns = `SELECT controller_id, current_meetings, current_participants, cpu_usage_percent, memory_usage_percent,
	last_heartbeat_at, updated_at, max_meetings, max_participants, reported_status, stale, operator_draining,
	health_status, generation, coalesce(conflicts, 0)
	FROM meeting_controllers LEFT JOIN controller_conflicts USING (controller_id) WHERE updated_at >= ?`

// ControllersUpdated implements [service.ChangeSource]. It reads the whole table: an index on the time would make every
// heartbeat more expensive than this read. A large fleet's rows are many, so no more of them is read than is compared, and into the
// result at once.
func (s *Store) ControllersUpdated(ctx context.Context, since time.Time) ([]service.ControllerUpdate, error) {
	return run(ctx, s, "controllers", func(ctx context.Context) (found []service.ControllerUpdate, err error) {
		var asOf dbTime
		if err := s.watch.GetContext(ctx, &asOf, `SELECT `+s.dialect.now); err != nil {
			return nil, err
		}
		rows, err := s.watch.QueryContext(ctx, s.watch.Rebind(updatedColumns), s.dialect.bind(since))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()

		for rows.Next() {
			var (
				u                    = service.ControllerUpdate{AsOf: asOf.Time}
				heartbeatAt, updated dbTime
				reported, health     string
			)
			if err := rows.Scan(
				&u.ControllerID, &u.CurrentMeetings, &u.CurrentParticipants, &u.CPUUsagePercent, &u.MemoryUsagePercent,
				&heartbeatAt, &updated, &u.MaxMeetings, &u.MaxParticipants, &reported, &u.Facts.Stale, &u.Facts.OperatorDraining,
				&health, &u.Generation, &u.IncarnationConflicts,
			); err != nil {
				return nil, err
			}
			u.LastHeartbeatAt, u.UpdatedAt = heartbeatAt.Time, updated.Time
			u.Facts.Reported, u.Health = service.HealthStatus(reported), service.HealthStatus(health)
			found = append(found, u)
		}
		return found, rows.Err()
	})
}

func (s *Store) appendControllers(ctx context.Context, controllers []service.Controller, query string, values ...any) ([]service.Controller, error) {
	var found []row
	if err := s.watch.SelectContext(ctx, &found, s.watch.Rebind(query), values...); err != nil {
		return nil, err
	}
	for _, r := range found {
		controllers = append(controllers, r.controller())
	}
	return controllers, nil
}
