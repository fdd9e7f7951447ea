package store

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

const registerReason = "registered"

// registerAttempts bounds how often a registration starts over because another of the same controller came between.
const registerAttempts = 3

// Register implements [service.Store].
func (s *Store) Register(ctx context.Context, r service.Registration, actor string) (*service.Transition, error) {
	if !s.dialect.oneStatement {
		return transact(ctx, s, s.write, "register", func(ctx context.Context, tx *sqlx.Tx) (*service.Transition, error) {
			return s.registerInSteps(ctx, tx, r, actor)
		})
	}
	return run(ctx, s, "register", func(ctx context.Context) (*service.Transition, error) {
		var registered []change
		for range registerAttempts {
			if err := s.write.SelectContext(ctx, &registered, registerStatement, r.ControllerID, r.Region, r.GRPCEndpoint, webTransport(r),
				r.MaxMeetings, r.MaxParticipants, storable(actor), registerReason); err != nil {
				return nil, err
			}
			if len(registered) > 0 {
				return registered[0].transition(service.CauseRegister, actor, registerReason, service.HealthPending), nil
			}
		}
		return nil, unavailable("raced with other registrations")
	})
}

func webTransport(r service.Registration) sql.NullString {
	return sql.NullString{String: r.WebTransportEndpoint, Valid: r.WebTransportEndpoint != ""}
}

// registerStatement is one UPSERT and its line in the history. "old" locks the row first and shows it as it is then. When
// there was none and another registration inserts it meanwhile, DO UPDATE has no old state to compare with: it leaves
// the row alone, the statement returns nothing, and the next attempt finds the row to lock.
const registerStatement = `WITH old AS MATERIALIZED (
	SELECT controller_id, health_status, last_heartbeat_at, operator_draining FROM meeting_controllers WHERE controller_id = $1::varchar FOR UPDATE
), fact AS (
	SELECT coalesce(old.operator_draining, false) AS operator_draining, 'pending' AS reported_status, false AS stale, clock_timestamp() AS now
	FROM (VALUES (1)) AS one LEFT JOIN old ON true
), registered AS (
	INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint, max_meetings, max_participants,
		health_status, reported_status, stale, last_heartbeat_at, created_at, updated_at)
	SELECT $1::varchar, $2::varchar, $3::varchar, $3::varchar, $4::varchar, $5::int, $6::int, ` + healthSQL + `, f.reported_status, f.stale, f.now, f.now, f.now
	FROM fact AS f
	ON CONFLICT (controller_id) DO UPDATE SET region = excluded.region, endpoint = excluded.endpoint, grpc_endpoint = excluded.grpc_endpoint,
		webtransport_endpoint = excluded.webtransport_endpoint, max_meetings = excluded.max_meetings, max_participants = excluded.max_participants,
		health_status = excluded.health_status, reported_status = excluded.reported_status, stale = excluded.stale,
		last_heartbeat_at = excluded.last_heartbeat_at
	WHERE EXISTS (SELECT FROM old)
	RETURNING controller_id, region, health_status, reported_status, last_heartbeat_at
), history AS (
	INSERT INTO controller_transitions (controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
	SELECT r.controller_id, r.region, r.last_heartbeat_at, old.health_status, r.health_status, 'register', $7::text, $8::text,
		coalesce(greatest(0, floor(extract(epoch FROM r.last_heartbeat_at - old.last_heartbeat_at) * 1000)), 0)::bigint, r.reported_status
	FROM registered AS r LEFT JOIN old ON true WHERE r.health_status IS DISTINCT FROM old.health_status
)
SELECT r.controller_id, r.region, old.health_status AS from_status, r.health_status AS to_status, r.last_heartbeat_at AS at, old.last_heartbeat_at AS before
FROM registered AS r LEFT JOIN old ON true`

// registerInSteps does the same within a transaction that keeps every other writer out, so nothing can come between.
func (s *Store) registerInSteps(ctx context.Context, tx *sqlx.Tx, r service.Registration, actor string) (*service.Transition, error) {
	old, err := s.lock(ctx, tx, r.ControllerID)
	if err != nil {
		return nil, err
	}
	now, err := s.now(ctx, tx)
	if err != nil {
		return nil, err
	}
	facts := service.Facts{Reported: service.HealthPending, OperatorDraining: old != nil && old.OperatorDraining}
	at := s.dialect.bind(now)
	if _, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint,
		max_meetings, max_participants, health_status, reported_status, last_heartbeat_at, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (controller_id) DO UPDATE SET region = excluded.region, endpoint = excluded.endpoint, grpc_endpoint = excluded.grpc_endpoint,
		webtransport_endpoint = excluded.webtransport_endpoint, max_meetings = excluded.max_meetings, max_participants = excluded.max_participants,
		reported_status = excluded.reported_status, stale = false, health_status = excluded.health_status, last_heartbeat_at = excluded.last_heartbeat_at`),
		r.ControllerID, r.Region, r.GRPCEndpoint, r.GRPCEndpoint, webTransport(r),
		r.MaxMeetings, r.MaxParticipants, string(facts.Health()), string(facts.Reported), at, at, at); err != nil {
		return nil, err
	}
	made := change{ControllerID: r.ControllerID, To: string(facts.Health()), At: dbTime{now}}
	if old != nil {
		made = old.changed(now, facts.Health())
	}
	made.Region = r.Region
	transition := made.transition(service.CauseRegister, actor, registerReason, facts.Reported)
	return transition, s.record(ctx, tx, transition)
}
