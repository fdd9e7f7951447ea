package store

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// heartbeatStatus is what a statement did with one heartbeat. The numbers from 1 on are those of [heartbeatSQL]'s
// column outcome.
type heartbeatStatus int64

const (
	// heartbeatUnwritten: there is no row, or another transaction has locked it and the statement skipped it.
	heartbeatUnwritten heartbeatStatus = iota
	// heartbeatStored: stored; neither the public state nor the staleness changed.
	heartbeatStored
	// heartbeatChanged: stored, with a transition.
	heartbeatChanged
	// heartbeatSuperseded: not stored, because another incarnation is registered.
	heartbeatSuperseded
)

// heartbeatOutcome is the result of one heartbeat of a statement.
type heartbeatOutcome struct {
	status     heartbeatStatus
	at         time.Time
	transition *service.Transition // Set if status is heartbeatChanged.
	intent     service.Intent
}

// reply converts the outcome to the result for the caller.
func (o heartbeatOutcome) reply() (service.HeartbeatResult, error) {
	switch o.status {
	case heartbeatUnwritten:
		return service.HeartbeatResult{}, errUnwritten
	case heartbeatSuperseded:
		return service.HeartbeatResult{}, service.ErrSuperseded
	default:
		return service.HeartbeatResult{At: o.at, Transition: o.transition, Intent: o.intent}, nil
	}
}

// Heartbeat implements [service.Store]. Heartbeats that arrive at the same time share a statement and a commit.
func (s *Store) Heartbeat(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	if s.isUnbatched {
		return s.writeSingleHeartbeat(ctx, h)
	}
	return s.heartbeatBatcher.submit(ctx, h)
}

// writeSingleHeartbeat stores one heartbeat by a statement of its own, which waits while another transaction has locked
// the row.
func (s *Store) writeSingleHeartbeat(ctx context.Context, h service.HeartbeatWrite) (service.HeartbeatResult, error) {
	began := time.Now()
	outcomes, err := s.writeHeartbeats(ctx, []service.HeartbeatWrite{h}, false)
	switch {
	case err != nil:
		return service.HeartbeatResult{}, err
	case outcomes[0].status == heartbeatUnwritten:
		return service.HeartbeatResult{}, service.ErrNotRegistered
	}

	s.onBatch(1, time.Since(began))
	return outcomes[0].reply()
}

// writeHeartbeats stores heartbeats of different controllers, sorted by id, with their transitions, in one transaction.
// skipLocked leaves out rows that another transaction has locked, instead of waiting for them; SQLite locks no rows. The
// result has one outcome for each heartbeat.
func (s *Store) writeHeartbeats(ctx context.Context, heartbeats []service.HeartbeatWrite, skipLocked bool) (
	outcomes []heartbeatOutcome, err error,
) {
	if s.dialect.isPostgres {
		outcomes, err = runInline(ctx, s, "heartbeat", func(ctx context.Context) ([]heartbeatOutcome, error) {
			return s.writeHeartbeatsPostgres(ctx, heartbeats, skipLocked)
		})
	} else {
		outcomes, err = transact(ctx, s, s.writeDB, "heartbeat", func(ctx context.Context, tx *sqlx.Tx) ([]heartbeatOutcome, error) {
			return s.writeHeartbeatsSQLite(ctx, tx, heartbeats)
		})
	}

	if slices.ContainsFunc(outcomes, func(o heartbeatOutcome) bool { return o.transition != nil }) {
		s.announcer.announceTransitions()
	}
	return outcomes, err
}

func heartbeatReason(h service.HeartbeatWrite) string { return "reported " + string(h.Reported) }
