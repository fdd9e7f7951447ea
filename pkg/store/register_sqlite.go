package store

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// maxRegisterBatch limits a commit of registrations, so that heartbeats do not wait long for it.
const maxRegisterBatch = 128

// registrationCall is a registration and its actor.
type registrationCall struct {
	registration service.Registration
	actor        string
}

// registerBatch stores registrations in one commit. SQLite has one writer, so a fleet that returns in a burst would
// otherwise wait for one commit for each controller. If one registration is rejected, each is tried by itself.
func (s *Store) registerBatch(batch []registrationCall) []callResult[service.RegisterResult] {
	results, err := s.tryRegisterBatch(batch)
	switch {
	case err == nil:
		for i, result := range results {
			s.announcer.announceOutcome(batch[i].registration.ControllerID, result.value.Transition, result.err)
		}
		return results
	case errors.Is(err, errRejected) && len(batch) > 1:
		for i := range batch {
			results = append(results, s.registerBatch(batch[i:i+1])...)
		}
		return results
	}

	results = make([]callResult[service.RegisterResult], len(batch))
	for i := range results {
		results[i].err = err
	}
	return results
}

// tryRegisterBatch registers controllers in one transaction. It returns either a result for each registration or an error.
func (s *Store) tryRegisterBatch(batch []registrationCall) ([]callResult[service.RegisterResult], error) {
	return transact(context.Background(), s, s.writeDB, "register",
		func(ctx context.Context, tx *sqlx.Tx) ([]callResult[service.RegisterResult], error) {
			results := make([]callResult[service.RegisterResult], len(batch))
			for i, call := range batch {
				results[i].value, results[i].err = s.registerSQLite(ctx, tx, call.registration, call.actor)
				// A registration with a domain error has written nothing, so the others can be committed.
				if err := results[i].err; err != nil && !service.IsDomainError(err) {
					return nil, err
				}
			}
			return results, nil
		})
}

const upsertControllerSQLite = `INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint,
	max_meetings, max_participants, health_status, reported_status, incarnation, superseded, owner, told_fast_interval_ms, told_threshold_ms,
	last_heartbeat_at, created_at, updated_at)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (controller_id) DO UPDATE SET region = excluded.region, endpoint = excluded.endpoint, grpc_endpoint = excluded.grpc_endpoint,
	webtransport_endpoint = excluded.webtransport_endpoint, max_meetings = excluded.max_meetings, max_participants = excluded.max_participants,
	reported_status = excluded.reported_status, stale = false, health_status = excluded.health_status,
	incarnation = coalesce(excluded.incarnation, incarnation), superseded = excluded.superseded, owner = excluded.owner,
	told_fast_interval_ms = excluded.told_fast_interval_ms, told_threshold_ms = excluded.told_threshold_ms,
	last_heartbeat_at = excluded.last_heartbeat_at`

// registerSQLite registers a controller in a transaction that excludes every other writer.
func (s *Store) registerSQLite(ctx context.Context, tx *sqlx.Tx, r service.Registration, actor string) (
	service.RegisterResult, error,
) {
	found, err := s.lockRow(ctx, tx, r.ControllerID)
	if err != nil {
		return service.RegisterResult{}, err
	}
	now, err := s.readNow(ctx, tx)
	if err != nil {
		return service.RegisterResult{}, err
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
		return service.RegisterResult{}, service.ErrSuperseded
	}

	health := facts.Health()
	at := s.dialect.bind(now)
	if _, err := tx.ExecContext(ctx, upsertControllerSQLite,
		r.ControllerID, r.Region, r.GRPCEndpoint, r.GRPCEndpoint, nullIfEmpty(r.WebTransportEndpoint),
		r.MaxMeetings, r.MaxParticipants, string(health), string(facts.Reported),
		nullIfEmpty(r.Incarnation), old.supersededAfter(r.Incarnation), ownerOf(actor),
		s.policy.fastIntervalMS, s.policy.thresholdMS, at, at, at); err != nil {
		return service.RegisterResult{}, err
	}

	c := change{ControllerID: r.ControllerID, To: string(health), At: dbTime{now}}
	if found != nil {
		c = old.changeByCall(now, health)
	}
	c.Region = r.Region
	transition := c.transition(service.CauseRegister, actor, registerReason, facts.Reported)
	return service.RegisterResult{Transition: transition, Intent: old.intent()}, s.recordTransitions(ctx, tx, transition)
}
