package store

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// maxRegisterAttempts limits the attempts of a registration that races with another one of the same new controller.
const maxRegisterAttempts = 3

// registerSQL is one UPSERT and its transition. "old" locks the row first and reads it once it is locked.
// If there is no row and another registration inserts it meanwhile, DO UPDATE has no old state to compare with. It then
// leaves the row unchanged, the statement returns no row, and the next attempt finds the row to lock.
var registerSQL = `WITH old AS MATERIALIZED (
	SELECT controller_id, health_status, reported_status, stale, last_heartbeat_at, operator_draining, incarnation, superseded
	FROM meeting_controllers WHERE controller_id = $1::varchar FOR UPDATE
), fact AS (
	SELECT coalesce(old.operator_draining, false) AS operator_draining, false AS stale, clock_timestamp() AS now,
		CASE WHEN old.incarnation = $9::varchar THEN old.reported_status ELSE 'pending' END AS reported_status,
		CASE WHEN $9::varchar = '' OR old.incarnation IS NULL OR old.incarnation = $9::varchar THEN coalesce(old.superseded, '')
			ELSE array_to_string((old.incarnation::text || string_to_array(old.superseded, ' '))[1:4], ' ') END AS superseded,
		old.incarnation IS DISTINCT FROM $9::varchar AND $9::text = ANY (string_to_array(coalesce(old.superseded, ''), ' ')) AS refused
	FROM (VALUES (1)) AS one LEFT JOIN old ON true
), registered AS (
	INSERT INTO meeting_controllers AS m (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint,
		max_meetings, max_participants, health_status, reported_status, stale, incarnation, superseded, owner,
		told_fast_interval_ms, told_threshold_ms,
		last_heartbeat_at, created_at, updated_at)
	SELECT $1::varchar, $2::varchar, $3::varchar, $3::varchar, $4::varchar, $5::int, $6::int, ` + healthSQL + `,
		f.reported_status, f.stale, nullif($9::varchar, ''), f.superseded, $10::varchar, $11::bigint, $12::bigint, f.now, f.now, f.now
	FROM fact AS f WHERE NOT f.refused
	ON CONFLICT (controller_id) DO UPDATE SET region = excluded.region, endpoint = excluded.endpoint,
		grpc_endpoint = excluded.grpc_endpoint, webtransport_endpoint = excluded.webtransport_endpoint,
		max_meetings = excluded.max_meetings, max_participants = excluded.max_participants,
		health_status = excluded.health_status, reported_status = excluded.reported_status, stale = excluded.stale,
		incarnation = coalesce(excluded.incarnation, m.incarnation), superseded = excluded.superseded, owner = excluded.owner,
		told_fast_interval_ms = excluded.told_fast_interval_ms, told_threshold_ms = excluded.told_threshold_ms,
		last_heartbeat_at = excluded.last_heartbeat_at
	WHERE EXISTS (SELECT FROM old)
	RETURNING m.controller_id, m.region, m.health_status, m.reported_status, m.last_heartbeat_at,
		m.operator_draining, m.drain_until, m.drain_reason
), history AS (
	INSERT INTO controller_transitions (controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
	SELECT r.controller_id, r.region, r.last_heartbeat_at, old.health_status, r.health_status, 'register', $7::text, $8::text,
		coalesce(greatest(0, floor(extract(epoch FROM r.last_heartbeat_at - old.last_heartbeat_at) * 1000)), 0)::bigint, r.reported_status
	FROM registered AS r LEFT JOIN old ON true WHERE r.health_status IS DISTINCT FROM old.health_status OR old.stale
)
SELECT r.controller_id, r.region, old.health_status AS from_status, r.health_status AS to_status, r.reported_status,
	r.last_heartbeat_at AS at, old.last_heartbeat_at AS before, r.operator_draining, r.drain_until, r.drain_reason, false AS superseded,
	coalesce(old.stale, false) AS ends_staleness
FROM registered AS r LEFT JOIN old ON true
UNION ALL
SELECT $1::varchar, '', NULL, '', '', now, NULL, false, NULL, NULL, true, false FROM fact WHERE refused`

// registerRow is a row of the result of [registerSQL].
type registerRow struct {
	change
	OperatorDraining bool           `db:"operator_draining"`
	DrainUntil       *dbTime        `db:"drain_until"`
	DrainReason      sql.NullString `db:"drain_reason"`
	Reported         string         `db:"reported_status"`
	Superseded       bool           `db:"superseded"`
}

func (r registerRow) result(actor string) (service.RegisterResult, error) {
	if r.Superseded {
		return service.RegisterResult{}, service.ErrSuperseded
	}
	return service.RegisterResult{
		Transition: r.transition(service.CauseRegister, actor, registerReason, service.HealthStatus(r.Reported)),
		Intent:     row{OperatorDraining: r.OperatorDraining, DrainUntil: r.DrainUntil, DrainReason: r.DrainReason}.intent(),
	}, nil
}

// registerPostgres registers a controller by one statement.
func (s *Store) registerPostgres(ctx context.Context, r service.Registration, actor string) (service.RegisterResult, error) {
	return run(ctx, s, "register", func(ctx context.Context) (service.RegisterResult, error) {
		for range maxRegisterAttempts {
			rows, err := s.tryRegisterPostgres(ctx, r, actor)
			if err != nil {
				return service.RegisterResult{}, err
			}
			if len(rows) > 0 {
				result, err := rows[0].result(actor)
				s.announcer.announceOutcome(r.ControllerID, result.Transition, err)
				return result, err
			}
		}
		return service.RegisterResult{}, unavailable("raced with other registrations of the controller")
	})
}

// tryRegisterPostgres returns no row if the registration must be tried again. The statement is planned once for each
// connection, because planning takes longer than running it.
func (s *Store) tryRegisterPostgres(ctx context.Context, r service.Registration, actor string) (found []registerRow, err error) {
	rows, err := s.registerStatement.query(ctx, s.writeDB, r.ControllerID, r.Region, r.GRPCEndpoint, nullIfEmpty(r.WebTransportEndpoint),
		r.MaxMeetings, r.MaxParticipants, storableText(actor), registerReason, r.Incarnation, ownerOf(actor),
		s.policy.fastIntervalMS, s.policy.thresholdMS)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()

	// Read to the end: the statement is committed only then.
	if err = sqlx.StructScan(rows, &found); err == nil {
		err = rows.Err()
	}
	return found, err
}
