package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

const registerReason = "registered"

// givenPolicy is the heartbeat interval that registering controllers are given, and their staleness threshold.
type givenPolicy struct{ fastMS, thresholdMS sql.NullInt64 }

func givenPolicyOf(cfg Config) givenPolicy {
	orNull := func(d time.Duration) sql.NullInt64 { return sql.NullInt64{Int64: d.Milliseconds(), Valid: d > 0} }
	return givenPolicy{orNull(cfg.FastInterval), orNull(cfg.StalenessThreshold)}
}

// registerAttempts bounds how often a registration starts over because another of the same controller came between.
const registerAttempts = 3

// registered is what the statement of a registration returns.
type registered struct {
	change
	OperatorDraining bool           `db:"operator_draining"`
	DrainUntil       *dbTime        `db:"drain_until"`
	DrainReason      sql.NullString `db:"drain_reason"`
	Reported         string         `db:"reported_status"`
	Superseded       bool           `db:"superseded"`
}

func (r registered) result(actor string) (service.RegisterResult, error) {
	if r.Superseded {
		return service.RegisterResult{}, service.ErrSuperseded
	}
	return service.RegisterResult{
		Transition: r.transition(service.CauseRegister, actor, registerReason, service.HealthStatus(r.Reported)),
		Intent:     row{OperatorDraining: r.OperatorDraining, DrainUntil: r.DrainUntil, DrainReason: r.DrainReason}.intent(),
	}, nil
}

// Register implements [service.Store].
func (s *Store) Register(ctx context.Context, r service.Registration, actor string) (service.RegisterResult, error) {
	if !s.dialect.oneStatement {
		return s.registrations.do(ctx, registering{r, actor})
	}
	return run(ctx, s, "register", func(ctx context.Context) (service.RegisterResult, error) {
		for range registerAttempts {
			rows, err := s.registerOnce(ctx, r, actor)
			if err != nil {
				return service.RegisterResult{}, err
			}
			if len(rows) > 0 {
				result, err := rows[0].result(actor)
				s.announcements.after(r.ControllerID, result.Transition, err)
				return result, err
			}
		}
		return service.RegisterResult{}, unavailable("raced with other registrations")
	})
}

// registerOnce returns nothing when the registration has to be tried again. The statement is planned once for each
// connection: planning it takes longer than all the rest.
func (s *Store) registerOnce(ctx context.Context, r service.Registration, actor string) (found []registered, err error) {
	rows, err := s.register.query(ctx, s.write, r.ControllerID, r.Region, r.GRPCEndpoint, webTransport(r),
		r.MaxMeetings, r.MaxParticipants, storable(actor), registerReason, r.Incarnation, ownerOf(actor), s.given.fastMS, s.given.thresholdMS)
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

// registering is a registration and who makes it.
type registering struct {
	registration service.Registration
	actor        string
}

// registerAtOnce bounds a commit of registrations, so that heartbeats do not wait long for it.
const registerAtOnce = 128

// registerTogether stores registrations in one commit, where a database has only one writer: a fleet that comes back at
// once would wait for as many commits as it has controllers. When one of them cannot be stored, each is tried by itself.
func (s *Store) registerTogether(some []registering) []gathered[service.RegisterResult] {
	answers, err := transact(context.Background(), s, s.write, "register", func(ctx context.Context, tx *sqlx.Tx) ([]gathered[service.RegisterResult], error) {
		answers := make([]gathered[service.RegisterResult], len(some))
		for i, one := range some {
			answers[i].value, answers[i].err = s.registerInSteps(ctx, tx, one.registration, one.actor)
			// A refusal has written nothing.
			if answers[i].err != nil && !isAnswer(answers[i].err) {
				return nil, answers[i].err
			}
		}
		return answers, nil
	})
	switch {
	case err == nil:
		for i, a := range answers {
			s.announcements.after(some[i].registration.ControllerID, a.value.Transition, a.err)
		}
		return answers
	case errors.Is(err, errRejected) && len(some) > 1:
		for i := range some {
			answers = append(answers, s.registerTogether(some[i:i+1])...)
		}
		return answers
	}
	answers = make([]gathered[service.RegisterResult], len(some))
	for i := range answers {
		answers[i].err = err
	}
	return answers
}

func webTransport(r service.Registration) sql.NullString {
	return sql.NullString{String: r.WebTransportEndpoint, Valid: r.WebTransportEndpoint != ""}
}

// registerStatement is one UPSERT and its line in the history. "old" locks the row first and shows it as it is then. When
// there was none and another registration inserts it meanwhile, DO UPDATE has no old state to compare with: it leaves
// the row alone, the statement returns nothing, and the next attempt finds the row to lock.
const registerStatement = `WITH old AS MATERIALIZED (
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
	INSERT INTO meeting_controllers AS m (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint, max_meetings, max_participants,
		health_status, reported_status, stale, incarnation, superseded, owner, told_fast_interval_ms, told_threshold_ms,
		last_heartbeat_at, created_at, updated_at)
	SELECT $1::varchar, $2::varchar, $3::varchar, $3::varchar, $4::varchar, $5::int, $6::int, ` + healthSQL + `, f.reported_status, f.stale,
		nullif($9::varchar, ''), f.superseded, $10::varchar, $11::bigint, $12::bigint, f.now, f.now, f.now
	FROM fact AS f WHERE NOT f.refused
	ON CONFLICT (controller_id) DO UPDATE SET region = excluded.region, endpoint = excluded.endpoint, grpc_endpoint = excluded.grpc_endpoint,
		webtransport_endpoint = excluded.webtransport_endpoint, max_meetings = excluded.max_meetings, max_participants = excluded.max_participants,
		health_status = excluded.health_status, reported_status = excluded.reported_status, stale = excluded.stale,
		incarnation = coalesce(excluded.incarnation, m.incarnation), superseded = excluded.superseded, owner = excluded.owner,
		told_fast_interval_ms = excluded.told_fast_interval_ms, told_threshold_ms = excluded.told_threshold_ms,
		last_heartbeat_at = excluded.last_heartbeat_at
	WHERE EXISTS (SELECT FROM old)
	RETURNING m.controller_id, m.region, m.health_status, m.reported_status, m.last_heartbeat_at, m.operator_draining, m.drain_until, m.drain_reason
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

// registerInSteps does the same within a transaction that keeps every other writer out, so nothing can come between.
func (s *Store) registerInSteps(ctx context.Context, tx *sqlx.Tx, r service.Registration, actor string) (none service.RegisterResult, _ error) {
	found, err := s.lock(ctx, tx, r.ControllerID)
	if err != nil {
		return none, err
	}
	now, err := s.now(ctx, tx)
	if err != nil {
		return none, err
	}
	var old row
	if found != nil {
		old = *found
	}
	facts := service.Facts{Reported: service.HealthPending, OperatorDraining: old.OperatorDraining}
	switch {
	case r.Incarnation == "":
	case old.Incarnation.String == r.Incarnation:
		facts.Reported = service.HealthStatus(old.Reported)
	case slices.Contains(strings.Fields(old.Superseded), r.Incarnation):
		return none, service.ErrSuperseded
	}
	at := s.dialect.bind(now)
	if _, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint,
		max_meetings, max_participants, health_status, reported_status, incarnation, superseded, owner, told_fast_interval_ms, told_threshold_ms,
		last_heartbeat_at, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (controller_id) DO UPDATE SET region = excluded.region, endpoint = excluded.endpoint, grpc_endpoint = excluded.grpc_endpoint,
		webtransport_endpoint = excluded.webtransport_endpoint, max_meetings = excluded.max_meetings, max_participants = excluded.max_participants,
		reported_status = excluded.reported_status, stale = false, health_status = excluded.health_status,
		incarnation = coalesce(excluded.incarnation, incarnation), superseded = excluded.superseded, owner = excluded.owner,
		told_fast_interval_ms = excluded.told_fast_interval_ms, told_threshold_ms = excluded.told_threshold_ms,
		last_heartbeat_at = excluded.last_heartbeat_at`),
		r.ControllerID, r.Region, r.GRPCEndpoint, r.GRPCEndpoint, webTransport(r),
		r.MaxMeetings, r.MaxParticipants, string(facts.Health()), string(facts.Reported),
		sql.NullString{String: r.Incarnation, Valid: r.Incarnation != ""}, old.supersededBy(r.Incarnation), ownerOf(actor),
		s.given.fastMS, s.given.thresholdMS, at, at, at); err != nil {
		return none, err
	}
	made := change{ControllerID: r.ControllerID, To: string(facts.Health()), At: dbTime{now}}
	if found != nil {
		made = old.changedByCall(now, facts.Health())
	}
	made.Region = r.Region
	transition := made.transition(service.CauseRegister, actor, registerReason, facts.Reported)
	return service.RegisterResult{Transition: transition, Intent: old.intent()}, s.record(ctx, tx, transition)
}
