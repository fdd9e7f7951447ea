package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// maxListedIDs limits the ids in a statement: the databases limit its parameters.
const maxListedIDs = 1000

// Changes implements [service.ChangeSource].
func (s *Store) Changes(ctx context.Context, after int64, missing []int64, limit int) (service.ChangePage, error) {
	return run(ctx, s, "changes", func(ctx context.Context) (service.ChangePage, error) {
		// The clock is read first: what was committed before that time is in the later reads.
		page, err := s.readHistoryEnds(ctx)
		if err != nil {
			return service.ChangePage{}, err
		}

		var found []transitionRow
		for ids := range slices.Chunk(missing, maxListedIDs) {
			query, values, err := sqlx.In(selectTransitions+` WHERE id IN (?) ORDER BY id`, ids)
			if err != nil {
				return service.ChangePage{}, err
			}
			var late []transitionRow
			if err := s.watchDB.SelectContext(ctx, &late, s.watchDB.Rebind(query), values...); err != nil {
				return service.ChangePage{}, err
			}
			found = append(found, late...)
		}

		var later []transitionRow
		if err := s.watchDB.SelectContext(ctx, &later,
			s.watchDB.Rebind(selectTransitions+` WHERE id > ? ORDER BY id LIMIT ?`), after, limit); err != nil {
			return service.ChangePage{}, err
		}

		for _, r := range append(found, later...) {
			page.Transitions = append(page.Transitions, r.transition())
		}
		return page, nil
	})
}

// readHistoryEnds returns a page with the clock and the ends of the history, but no transitions.
func (s *Store) readHistoryEnds(ctx context.Context) (service.ChangePage, error) {
	var ends struct {
		AsOf   dbTime `db:"as_of"`
		Oldest int64  `db:"oldest"`
		Newest int64  `db:"newest"`
	}
	err := s.watchDB.GetContext(ctx, &ends, `SELECT `+s.dialect.nowSQL+` AS as_of,
		coalesce((SELECT min(id) FROM controller_transitions), 0) AS oldest,
		coalesce((SELECT max(id) FROM controller_transitions), 0) AS newest`)
	return service.ChangePage{AsOf: ends.AsOf.Time, Oldest: ends.Oldest, Newest: ends.Newest}, err
}

// ControllersByID implements [service.ChangeSource].
func (s *Store) ControllersByID(ctx context.Context, ids []string) ([]service.Controller, error) {
	if len(ids) == 0 {
		return nil, nil
	}

	return run(ctx, s, "controllers", func(ctx context.Context) (controllers []service.Controller, _ error) {
		for chunk := range slices.Chunk(ids, maxListedIDs) {
			query, values, err := sqlx.In(s.dialect.selectShownControllers()+` WHERE controller_id IN (?)`, chunk)
			if err != nil {
				return nil, err
			}
			var found []row
			if err := s.watchDB.SelectContext(ctx, &found, s.watchDB.Rebind(query), values...); err != nil {
				return nil, err
			}
			for _, r := range found {
				controllers = append(controllers, r.controller())
			}
		}
		return controllers, nil
	})
}

// selectUpdates reads the columns of [service.ControllerUpdate].
const selectUpdates = `SELECT controller_id, current_meetings, current_participants, cpu_usage_percent, memory_usage_percent,
	last_heartbeat_at, updated_at, max_meetings, max_participants, reported_status, stale, operator_draining,
	health_status, generation, coalesce(conflicts, 0)
	FROM meeting_controllers LEFT JOIN controller_conflicts USING (controller_id) WHERE updated_at >= ?`

// ControllersUpdated implements [service.ChangeSource]. It reads the whole table: an index on the time would cost each
// heartbeat more than this read. For a large fleet the read is short: it has only the columns that are compared, and scans
// them directly into the result.
func (s *Store) ControllersUpdated(ctx context.Context, since time.Time) ([]service.ControllerUpdate, error) {
	return run(ctx, s, "controllers", func(ctx context.Context) (found []service.ControllerUpdate, err error) {
		var asOf dbTime
		if err := s.watchDB.GetContext(ctx, &asOf, `SELECT `+s.dialect.nowSQL); err != nil {
			return nil, err
		}

		rows, err := s.watchDB.QueryContext(ctx, s.watchDB.Rebind(selectUpdates), s.dialect.bind(since))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()

		for rows.Next() {
			u := service.ControllerUpdate{AsOf: asOf.Time}
			var (
				heartbeatAt, updatedAt dbTime
				reported, health       string
			)
			if err := rows.Scan(
				&u.ControllerID, &u.CurrentMeetings, &u.CurrentParticipants, &u.CPUUsagePercent, &u.MemoryUsagePercent,
				&heartbeatAt, &updatedAt, &u.MaxMeetings, &u.MaxParticipants, &reported, &u.Facts.Stale, &u.Facts.OperatorDraining,
				&health, &u.Generation, &u.IncarnationConflicts,
			); err != nil {
				return nil, err
			}

			u.LastHeartbeatAt, u.UpdatedAt = heartbeatAt.Time, updatedAt.Time
			u.Facts.Reported, u.Health = service.HealthStatus(reported), service.HealthStatus(health)
			found = append(found, u)
		}
		return found, rows.Err()
	})
}
