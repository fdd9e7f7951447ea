package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// reserveSQLite is reservePostgres in a transaction that excludes every other writer.
func (s *Store) reserveSQLite(ctx context.Context, reservations []service.Reservation) (outcomes []reserveOutcome, _ error) {
	tx, err := s.writeDB.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, r := range reservations {
		outcome, err := s.reserveOneSQLite(ctx, tx, r)
		if err != nil {
			return nil, errors.Join(err, tx.Rollback())
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes, tx.Commit()
}

func (s *Store) reserveOneSQLite(ctx context.Context, tx *sqlx.Tx, r service.Reservation) (reserveOutcome, error) {
	refused := reserveOutcome{isRefused: true}
	now, err := s.readNow(ctx, tx)
	if err != nil {
		return refused, err
	}

	var isEligible bool
	if err := tx.GetContext(ctx, &isEligible, `SELECT EXISTS (SELECT 1 FROM meeting_controllers WHERE controller_id = ?
		AND health_status IN ('healthy', 'degraded') AND coalesce(incarnation, '') = ?)`,
		r.ControllerID, r.Incarnation); err != nil || !isEligible {
		return refused, err
	}

	var old assignmentRow
	err = tx.GetContext(ctx, &old, `SELECT `+assignmentColumns+` FROM meeting_assignments WHERE meeting_id = ? AND region = ?`,
		r.MeetingID, r.Region)
	hasRow := err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return refused, err
	}
	if hasRow {
		isTaken, err := s.isTakenSQLite(ctx, tx, old, now)
		if err != nil || isTaken {
			return refused, err
		}
	}

	assignment, err := s.writeReservationSQLite(ctx, tx, r, now)
	if err != nil || !assignment.IsConfirmed {
		return reserveOutcome{assignment: assignment}, err
	}

	kind, previous := "assigned", ""
	if hasRow && old.EndedAt == nil && old.ConfirmedAt != nil {
		kind, previous = "moved", old.ControllerID
	}
	_, err = tx.ExecContext(ctx, insertMeetingEventSQL, s.dialect.bind(now), r.MeetingID, r.Region, assignment.Generation, kind,
		r.ControllerID, previous, storableText(r.Reason), storableText(r.Actor), r.Detail)
	return reserveOutcome{assignment: assignment}, err
}

// isTakenSQLite reports whether a row keeps its meeting: it is live, and its controller is neither stale nor gone nor another process.
func (s *Store) isTakenSQLite(ctx context.Context, tx *sqlx.Tx, old assignmentRow, now time.Time) (isTaken bool, _ error) {
	if old.EndedAt != nil || (old.ConfirmedAt == nil && !old.ExpiresAt.orZero().After(now)) {
		return false, nil
	}
	err := tx.GetContext(ctx, &isTaken, `SELECT EXISTS (SELECT 1 FROM meeting_controllers WHERE controller_id = ? AND NOT stale
		AND (? IS NULL OR incarnation = ?))`, old.ControllerID, old.Incarnation, old.Incarnation)
	return isTaken, err
}

func (s *Store) writeReservationSQLite(
	ctx context.Context, tx *sqlx.Tx, r service.Reservation, now time.Time,
) (service.Assignment, error) {
	var generation int64
	if err := tx.GetContext(ctx, &generation, `UPDATE assignment_generation SET last = last + 1 RETURNING last`); err != nil {
		return service.Assignment{}, err
	}

	var confirmedAt, expiresAt *int64
	var expires *dbTime
	if r.Lifetime == 0 {
		at := now.UnixMilli()
		confirmedAt = &at
	} else {
		expires = &dbTime{now.Add(r.Lifetime)}
		at := expires.UnixMilli()
		expiresAt = &at
	}

	_, err := tx.ExecContext(ctx, `INSERT INTO meeting_assignments (meeting_id, region, meeting_controller_id, assigned_at, assigned_by_gc_id,
			ended_at, confirmed_at, expires_at, generation, incarnation, expected_participants, org_id, series_id, requested_at, reason)
		VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (meeting_id, region) DO UPDATE SET meeting_controller_id = excluded.meeting_controller_id,
			assigned_at = excluded.assigned_at, assigned_by_gc_id = excluded.assigned_by_gc_id, ended_at = NULL,
			confirmed_at = excluded.confirmed_at, expires_at = excluded.expires_at, generation = excluded.generation,
			incarnation = excluded.incarnation, expected_participants = excluded.expected_participants, org_id = excluded.org_id,
			series_id = excluded.series_id, requested_at = excluded.requested_at, reason = excluded.reason`,
		r.MeetingID, r.Region, r.ControllerID, now.UnixMilli(), r.ReplicaID, confirmedAt, expiresAt, generation, nullIfEmpty(r.Incarnation),
		r.ExpectedParticipants, r.OrgID, r.SeriesID, now.UnixMilli(), storableText(r.Reason))
	return ownAssignment(r, generation, dbTime{now}, expires), err
}

// confirmSQLite is confirmPostgres in a transaction that excludes every other writer.
func (s *Store) confirmSQLite(ctx context.Context, confirmations []service.Confirmation) ([]bool, error) {
	tx, err := s.writeDB.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	confirmed := make([]bool, len(confirmations))
	for i, c := range confirmations {
		if confirmed[i], err = s.confirmOneSQLite(ctx, tx, c); err != nil {
			return nil, errors.Join(err, tx.Rollback())
		}
	}
	return confirmed, tx.Commit()
}

func (s *Store) confirmOneSQLite(ctx context.Context, tx *sqlx.Tx, c service.Confirmation) (bool, error) {
	now, err := s.readNow(ctx, tx)
	if err != nil {
		return false, err
	}
	var row assignmentRow
	err = tx.GetContext(ctx, &row, `UPDATE meeting_assignments SET confirmed_at = ? WHERE meeting_id = ? AND region = ? AND generation = ?
		AND ended_at IS NULL AND confirmed_at IS NULL AND expires_at > ? RETURNING `+assignmentColumns,
		now.UnixMilli(), c.MeetingID, c.Region, c.Generation, now.UnixMilli())
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}

	_, err = tx.ExecContext(ctx, insertMeetingEventSQL, s.dialect.bind(now), c.MeetingID, c.Region, c.Generation, "assigned",
		row.ControllerID, "", row.Reason, storableText(c.Actor), c.Detail)
	return err == nil, err
}
