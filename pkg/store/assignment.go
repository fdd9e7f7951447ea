package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// maxAssignmentBatch limits the reservations or confirmations of a commit.
const maxAssignmentBatch = 256

// assignmentRow is a row of meeting_assignments.
type assignmentRow struct {
	MeetingID            string         `db:"meeting_id"`
	Region               string         `db:"region"`
	ControllerID         string         `db:"meeting_controller_id"`
	AssignedAt           dbTime         `db:"assigned_at"`
	EndedAt              *dbTime        `db:"ended_at"`
	ConfirmedAt          *dbTime        `db:"confirmed_at"`
	ExpiresAt            *dbTime        `db:"expires_at"`
	Generation           int64          `db:"generation"`
	Incarnation          sql.NullString `db:"incarnation"`
	ExpectedParticipants int64          `db:"expected_participants"`
	Reason               string         `db:"reason"`
}

const assignmentColumns = `meeting_id, region, meeting_controller_id, assigned_at, ended_at, confirmed_at, expires_at, generation,
	incarnation, expected_participants, reason`

// liveAssignmentSQL is the condition of a row that is an assignment or a reservation that has not expired. The clock and a parenthesis
// follow it.
const liveAssignmentSQL = `ended_at IS NULL AND (confirmed_at IS NOT NULL OR expires_at > `

func (r assignmentRow) assignment() service.Assignment {
	return service.Assignment{
		AssignmentKey:        service.AssignmentKey{MeetingID: r.MeetingID, Region: r.Region},
		ControllerID:         r.ControllerID,
		Generation:           r.Generation,
		Incarnation:          r.Incarnation.String,
		AssignedAt:           r.AssignedAt.Time,
		IsConfirmed:          r.ConfirmedAt != nil,
		ExpiresAt:            r.ExpiresAt.orZero(),
		ExpectedParticipants: r.ExpectedParticipants,
		Reason:               r.Reason,
	}
}

// Assignment implements [service.AssignmentStore].
func (s *Store) Assignment(ctx context.Context, key service.AssignmentKey) (service.Assignment, error) {
	return run(ctx, s, "assignment", func(ctx context.Context) (service.Assignment, error) {
		var found assignmentRow
		err := s.readDB.GetContext(ctx, &found, s.readDB.Rebind(`SELECT `+assignmentColumns+` FROM meeting_assignments
			WHERE meeting_id = ? AND region = ? AND `+liveAssignmentSQL+s.dialect.statementNowSQL+`)`), key.MeetingID, key.Region)
		if errors.Is(err, sql.ErrNoRows) {
			return service.Assignment{}, service.ErrNotAssigned
		}
		if err != nil {
			return service.Assignment{}, err
		}
		return found.assignment(), nil
	})
}

// Assignments implements [service.AssignmentStore].
func (s *Store) Assignments(ctx context.Context, filter service.AssignmentFilter) ([]service.Assignment, error) {
	return run(ctx, s, "assignments", func(ctx context.Context) ([]service.Assignment, error) {
		query := `SELECT ` + assignmentColumns + ` FROM meeting_assignments WHERE ended_at IS NULL AND confirmed_at IS NOT NULL
			AND (meeting_id, region) > (?, ?)`
		values := []any{filter.After.MeetingID, filter.After.Region}
		for _, condition := range []struct{ column, value string }{
			{"meeting_id", filter.MeetingID},
			{"meeting_controller_id", filter.ControllerID},
			{"region", filter.Region},
		} {
			if condition.value != "" {
				query += ` AND ` + condition.column + ` = ?`
				values = append(values, condition.value)
			}
		}
		query += ` ORDER BY meeting_id, region LIMIT ?`

		var found []assignmentRow
		if err := s.readDB.SelectContext(ctx, &found, s.readDB.Rebind(query), append(values, filter.Limit)...); err != nil {
			return nil, err
		}
		assignments := make([]service.Assignment, len(found))
		for i, row := range found {
			assignments[i] = row.assignment()
		}
		return assignments, nil
	})
}

// AssignedLoads implements [service.AssignmentStore].
func (s *Store) AssignedLoads(ctx context.Context, region string) ([]service.AssignedLoad, error) {
	return run(ctx, s, "assigned_loads", func(ctx context.Context) ([]service.AssignedLoad, error) {
		rows, err := s.readDB.QueryContext(ctx, s.readDB.Rebind(`SELECT m.controller_id, count(*), sum(a.expected_participants),
				sum(CASE WHEN a.assigned_at > m.last_heartbeat_at THEN 1 ELSE 0 END),
				sum(CASE WHEN a.assigned_at > m.last_heartbeat_at THEN a.expected_participants ELSE 0 END)
			FROM meeting_controllers AS m JOIN meeting_assignments AS a ON a.meeting_controller_id = m.controller_id
			WHERE m.region = ? AND a.ended_at IS NULL AND (a.confirmed_at IS NOT NULL OR a.expires_at > `+s.dialect.statementNowSQL+`)
			GROUP BY m.controller_id`), region)
		if err != nil {
			return nil, err
		}
		defer func() { _ = rows.Close() }()

		var loads []service.AssignedLoad
		for rows.Next() {
			var l service.AssignedLoad
			if err := rows.Scan(&l.ControllerID, &l.Meetings, &l.Participants, &l.MeetingsSince, &l.ParticipantsSince); err != nil {
				return nil, err
			}
			loads = append(loads, l)
		}
		return loads, rows.Err()
	})
}

// EndAssignment implements [service.AssignmentStore].
func (s *Store) EndAssignment(ctx context.Context, end service.AssignmentEnd) (service.Assignment, error) {
	return transact(ctx, s, s.writeDB, "end_assignment", func(ctx context.Context, tx *sqlx.Tx) (service.Assignment, error) {
		var old assignmentRow
		err := tx.GetContext(ctx, &old, tx.Rebind(`SELECT `+assignmentColumns+` FROM meeting_assignments
			WHERE meeting_id = ? AND region = ? AND ended_at IS NULL AND confirmed_at IS NOT NULL`+s.dialect.lockRowSQL),
			end.MeetingID, end.Region)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return service.Assignment{}, service.ErrNotAssigned
		case err != nil:
			return service.Assignment{}, err
		case end.ExpectedGeneration != nil && *end.ExpectedGeneration != old.Generation:
			return service.Assignment{}, service.ErrConflict
		}

		now, err := s.readNow(ctx, tx)
		if err != nil {
			return service.Assignment{}, err
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind(`UPDATE meeting_assignments SET ended_at = ? WHERE meeting_id = ? AND region = ?`),
			s.dialect.bind(now), end.MeetingID, end.Region); err != nil {
			return service.Assignment{}, err
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind(insertMeetingEventSQL), s.dialect.bind(now), end.MeetingID, end.Region, old.Generation,
			"ended", old.ControllerID, "", storableText(end.Reason), storableText(end.Actor), ""); err != nil {
			return service.Assignment{}, err
		}
		return old.assignment(), nil
	})
}

const insertMeetingEventSQL = `INSERT INTO meeting_events
	(at, meeting_id, region, generation, kind, controller_id, previous_controller_id, reason, actor, detail)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// Release implements [service.AssignmentStore].
func (s *Store) Release(ctx context.Context, key service.AssignmentKey, generation int64) error {
	_, err := run(ctx, s, "release", func(ctx context.Context) (struct{}, error) {
		_, err := s.writeDB.ExecContext(ctx, s.writeDB.Rebind(`UPDATE meeting_assignments SET ended_at = `+s.dialect.nowSQL+`
			WHERE meeting_id = ? AND region = ? AND generation = ? AND confirmed_at IS NULL AND ended_at IS NULL`),
			key.MeetingID, key.Region, generation)
		return struct{}{}, err
	})
	return err
}

// Reserve implements [service.AssignmentStore]. Concurrent reservations share a commit.
func (s *Store) Reserve(ctx context.Context, r service.Reservation) (service.ReserveResult, error) {
	result, err := s.reservations.submit(ctx, r)
	if err != nil {
		return service.ReserveResult{}, err
	}
	if result.isRefused {
		return s.resolveUnreserved(ctx, r)
	}
	return service.ReserveResult{Assignment: result.assignment, IsOwn: true}, nil
}

// reserveOutcome is the result of a reservation in a batch. It is refused if the meeting has a live assignment or the
// controller was not eligible.
type reserveOutcome struct {
	assignment service.Assignment
	isRefused  bool
}

// resolveUnreserved returns why a reservation was not made. It reads after the commit, because the statement's snapshot does
// not include what was committed meanwhile.
func (s *Store) resolveUnreserved(ctx context.Context, r service.Reservation) (service.ReserveResult, error) {
	found, err := s.Assignment(ctx, r.AssignmentKey)
	if errors.Is(err, service.ErrNotAssigned) {
		return service.ReserveResult{}, service.ErrNotEligible
	}
	if err != nil {
		return service.ReserveResult{}, err
	}
	return service.ReserveResult{Assignment: found}, nil
}

// reserveBatch commits reservations together, in the order of their keys.
func (s *Store) reserveBatch(reservations []service.Reservation) []callResult[reserveOutcome] {
	write := s.reserveSQLite
	if s.dialect.isPostgres {
		write = s.reservePostgres
	}
	return commitRounds(s, "reserve", reservations, func(r service.Reservation) service.AssignmentKey { return r.AssignmentKey }, write)
}

// Confirm implements [service.AssignmentStore]. Concurrent confirmations share a commit.
func (s *Store) Confirm(ctx context.Context, c service.Confirmation) (bool, error) {
	return s.confirmations.submit(ctx, c)
}

// confirmBatch commits confirmations together, in the order of their keys.
func (s *Store) confirmBatch(confirmations []service.Confirmation) []callResult[bool] {
	write := s.confirmSQLite
	if s.dialect.isPostgres {
		write = s.confirmPostgres
	}
	return commitRounds(s, "confirm", confirmations, func(c service.Confirmation) service.AssignmentKey { return c.AssignmentKey }, write)
}

// commitRounds writes requests in the rounds of [uniqueRounds], and commits each round for itself. It returns a result for each request.
func commitRounds[Q, R any](
	s *Store, operation string, requests []Q, key func(Q) service.AssignmentKey, write func(context.Context, []Q) ([]R, error),
) []callResult[R] {
	results := make([]callResult[R], len(requests))
	for _, round := range uniqueRounds(requests, key) {
		batch := make([]Q, len(round))
		for i, index := range round {
			batch[i] = requests[index]
		}

		values, err := run(context.Background(), s, operation, func(ctx context.Context) ([]R, error) { return write(ctx, batch) })
		for i, index := range round {
			results[index].err = err
			if err == nil {
				results[index].value = values[i]
			}
		}
	}
	return results
}

// uniqueRounds groups the indexes of requests into rounds in which no key repeats, each in the order of the keys: two statements that
// lock rows in the same order cannot deadlock.
func uniqueRounds[T any](requests []T, key func(T) service.AssignmentKey) [][]int {
	var rounds [][]int
	repeated := make(map[service.AssignmentKey]int)
	for i, request := range requests {
		round := repeated[key(request)]
		repeated[key(request)]++
		if round == len(rounds) {
			rounds = append(rounds, nil)
		}
		rounds[round] = append(rounds[round], i)
	}

	for _, round := range rounds {
		slices.SortFunc(round, func(a, b int) int {
			x, y := key(requests[a]), key(requests[b])
			return cmp.Or(cmp.Compare(x.MeetingID, y.MeetingID), cmp.Compare(x.Region, y.Region))
		})
	}
	return rounds
}
