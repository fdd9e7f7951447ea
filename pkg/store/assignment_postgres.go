package store

import (
	"context"

	"github.com/lib/pq"

	"darktower.example/global-controller/service"
)

// reserveSQL reserves meetings, or confirms them at once if their lifetime is 0. A row that exists is replaced only if it ended,
// expired, or its controller is stale, gone or another process. Rows that are not replaced are missing in the result.
const reserveSQL = `WITH wanted AS (
	SELECT * FROM unnest($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[], $5::int[], $6::varchar[], $7::varchar[], $8::text[],
			$9::varchar[], $10::text[], $11::bigint[], $12::text[])
		WITH ORDINALITY AS w (meeting_id, region, controller_id, incarnation, expected, org_id, series_id, reason, gc_id, actor,
			lifetime_ms, detail, n)
), still_serving AS (
	SELECT w.*, m.incarnation AS current_incarnation FROM wanted AS w JOIN meeting_controllers AS m USING (controller_id)
	WHERE m.health_status IN ('healthy', 'degraded') AND coalesce(m.incarnation, '') = w.incarnation
), old AS MATERIALIZED (
	SELECT a.meeting_id, a.region, a.meeting_controller_id FROM meeting_assignments AS a JOIN wanted AS w USING (meeting_id, region)
	WHERE a.ended_at IS NULL AND a.confirmed_at IS NOT NULL
), placed AS (
	INSERT INTO meeting_assignments AS a (meeting_id, region, meeting_controller_id, assigned_at, assigned_by_gc_id, ended_at, confirmed_at,
		expires_at, generation, incarnation, expected_participants, org_id, series_id, requested_at, reason)
	SELECT meeting_id, region, controller_id, clock_timestamp(), gc_id, NULL, CASE WHEN lifetime_ms = 0 THEN clock_timestamp() END,
		CASE WHEN lifetime_ms > 0 THEN clock_timestamp() + lifetime_ms * interval '1 millisecond' END, nextval('assignment_generation'),
		current_incarnation, expected, org_id, series_id, clock_timestamp(), reason
	FROM still_serving ORDER BY meeting_id, region
	ON CONFLICT (meeting_id, region) DO UPDATE SET meeting_controller_id = excluded.meeting_controller_id,
		assigned_at = excluded.assigned_at, assigned_by_gc_id = excluded.assigned_by_gc_id, ended_at = NULL, confirmed_at = excluded.confirmed_at,
		expires_at = excluded.expires_at, generation = excluded.generation, incarnation = excluded.incarnation,
		expected_participants = excluded.expected_participants, org_id = excluded.org_id, series_id = excluded.series_id,
		requested_at = excluded.requested_at, reason = excluded.reason
	WHERE a.ended_at IS NOT NULL OR (a.confirmed_at IS NULL AND a.expires_at <= clock_timestamp())
		OR NOT EXISTS (SELECT FROM meeting_controllers AS h WHERE h.controller_id = a.meeting_controller_id AND NOT h.stale
			AND (a.incarnation IS NULL OR h.incarnation = a.incarnation))
	RETURNING a.*
), events AS (
	INSERT INTO meeting_events (at, meeting_id, region, generation, kind, controller_id, previous_controller_id, reason, actor, detail)
	SELECT p.assigned_at, p.meeting_id, p.region, p.generation, CASE WHEN old.meeting_id IS NULL THEN 'assigned' ELSE 'moved' END,
		p.meeting_controller_id, coalesce(old.meeting_controller_id, ''), p.reason, w.actor, w.detail
	FROM placed AS p JOIN wanted AS w USING (meeting_id, region) LEFT JOIN old USING (meeting_id, region)
	WHERE p.confirmed_at IS NOT NULL ORDER BY w.n
)
SELECT w.n, p.generation, p.assigned_at, p.expires_at FROM placed AS p JOIN wanted AS w USING (meeting_id, region)`

// reservationColumns are the parameters of [reserveSQL]: one array for each column.
func reservationColumns(reservations []service.Reservation) []any {
	n := len(reservations)
	var (
		meetings, regions, controllers = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		incarnations, orgs, series     = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		reasons, replicas, actors      = make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
		expected, lifetimes            = make(pq.Int64Array, n), make(pq.Int64Array, n)
		details                        = make(pq.StringArray, n)
	)
	for i, r := range reservations {
		meetings[i], regions[i], controllers[i] = r.MeetingID, r.Region, r.ControllerID
		incarnations[i], orgs[i], series[i] = r.Incarnation, r.OrgID, r.SeriesID
		reasons[i], replicas[i], actors[i] = storableText(r.Reason), r.ReplicaID, storableText(r.Actor)
		expected[i], lifetimes[i] = r.ExpectedParticipants, r.Lifetime.Milliseconds()
		details[i] = r.Detail
	}
	return []any{meetings, regions, controllers, incarnations, expected, orgs, series, reasons, replicas, actors, lifetimes, details}
}

func (s *Store) reservePostgres(ctx context.Context, reservations []service.Reservation) ([]reserveOutcome, error) {
	rows, err := s.reserveStatement.query(ctx, s.writeDB, reservationColumns(reservations)...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()

	outcomes := make([]reserveOutcome, len(reservations))
	for i := range outcomes {
		outcomes[i].isRefused = true
	}

	// Read to the end: the statement is committed only then.
	for rows.Next() {
		var number, generation int64
		var assignedAt dbTime
		var expiresAt *dbTime
		if err := rows.Scan(&number, &generation, &assignedAt, &expiresAt); err != nil {
			return nil, err
		}
		outcomes[number-1] = reserveOutcome{assignment: ownAssignment(reservations[number-1], generation, assignedAt, expiresAt)}
	}
	return outcomes, rows.Err()
}

// ownAssignment returns the assignment that a reservation made.
func ownAssignment(r service.Reservation, generation int64, assignedAt dbTime, expiresAt *dbTime) service.Assignment {
	return service.Assignment{
		AssignmentKey:        r.AssignmentKey,
		ControllerID:         r.ControllerID,
		Generation:           generation,
		Incarnation:          r.Incarnation,
		AssignedAt:           assignedAt.Time,
		IsConfirmed:          r.Lifetime == 0,
		ExpiresAt:            expiresAt.orZero(),
		ExpectedParticipants: r.ExpectedParticipants,
		Reason:               r.Reason,
	}
}

// confirmSQL confirms reservations and records their events. Reservations that expired, moved or ended are missing in the result.
const confirmSQL = `WITH wanted AS (
	SELECT * FROM unnest($1::varchar[], $2::varchar[], $3::bigint[], $4::text[], $5::text[])
		WITH ORDINALITY AS w (meeting_id, region, generation, actor, detail, n)
), locked AS MATERIALIZED (
	SELECT a.meeting_id, a.region, w.actor, w.detail, w.n FROM meeting_assignments AS a JOIN wanted AS w USING (meeting_id, region)
	WHERE a.generation = w.generation AND a.ended_at IS NULL AND a.confirmed_at IS NULL ORDER BY a.meeting_id, a.region FOR UPDATE OF a
), confirmed AS (
	UPDATE meeting_assignments AS a SET confirmed_at = clock_timestamp() FROM locked AS l
	WHERE a.meeting_id = l.meeting_id AND a.region = l.region AND a.expires_at > clock_timestamp()
	RETURNING a.meeting_id, a.region, a.generation, a.meeting_controller_id, a.confirmed_at, a.reason, l.actor, l.detail, l.n
), events AS (
	INSERT INTO meeting_events (at, meeting_id, region, generation, kind, controller_id, reason, actor, detail)
	SELECT confirmed_at, meeting_id, region, generation, 'assigned', meeting_controller_id, reason, actor, detail FROM confirmed ORDER BY n
)
SELECT n FROM confirmed`

func (s *Store) confirmPostgres(ctx context.Context, confirmations []service.Confirmation) ([]bool, error) {
	n := len(confirmations)
	meetings, regions, generations := make(pq.StringArray, n), make(pq.StringArray, n), make(pq.Int64Array, n)
	actors, details := make(pq.StringArray, n), make(pq.StringArray, n)
	for i, c := range confirmations {
		meetings[i], regions[i], generations[i] = c.MeetingID, c.Region, c.Generation
		actors[i], details[i] = storableText(c.Actor), c.Detail
	}

	rows, err := s.confirmStatement.query(ctx, s.writeDB, meetings, regions, generations, actors, details)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()

	confirmed := make([]bool, n)
	for rows.Next() {
		var number int64
		if err := rows.Scan(&number); err != nil {
			return nil, err
		}
		confirmed[number-1] = true
	}
	return confirmed, rows.Err()
}
