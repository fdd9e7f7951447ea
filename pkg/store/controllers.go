package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// row is a controller as it is stored.
type row struct {
	ControllerID         string         `db:"controller_id"`
	Region               string         `db:"region"`
	GRPCEndpoint         string         `db:"grpc_endpoint"`
	WebTransportEndpoint sql.NullString `db:"webtransport_endpoint"`
	MaxMeetings          int64          `db:"max_meetings"`
	CurrentMeetings      int64          `db:"current_meetings"`
	MaxParticipants      int64          `db:"max_participants"`
	CurrentParticipants  int64          `db:"current_participants"`
	Health               string         `db:"health_status"`
	Reported             string         `db:"reported_status"`
	Stale                bool           `db:"stale"`
	OperatorDraining     bool           `db:"operator_draining"`
	CPU                  *float64       `db:"cpu_usage_percent"`
	Memory               *float64       `db:"memory_usage_percent"`
	LastHeartbeatAt      dbTime         `db:"last_heartbeat_at"`
	CreatedAt            dbTime         `db:"created_at"`
	UpdatedAt            dbTime         `db:"updated_at"`
}

const selectControllers = `SELECT controller_id, region, grpc_endpoint, webtransport_endpoint, max_meetings, current_meetings, max_participants,
	current_participants, health_status, reported_status, stale, operator_draining, cpu_usage_percent, memory_usage_percent,
	last_heartbeat_at, created_at, updated_at FROM meeting_controllers`

func (r row) facts() service.Facts {
	return service.Facts{OperatorDraining: r.OperatorDraining, Reported: service.HealthStatus(r.Reported), Stale: r.Stale}
}

func (r row) controller() service.Controller {
	return service.Controller{
		ControllerID: r.ControllerID, Region: r.Region, GRPCEndpoint: r.GRPCEndpoint, WebTransportEndpoint: r.WebTransportEndpoint.String,
		MaxMeetings: r.MaxMeetings, CurrentMeetings: r.CurrentMeetings, MaxParticipants: r.MaxParticipants, CurrentParticipants: r.CurrentParticipants,
		Facts: r.facts(), Health: service.HealthStatus(r.Health), CPUUsagePercent: r.CPU, MemoryUsagePercent: r.Memory,
		LastHeartbeatAt: r.LastHeartbeatAt.Time, CreatedAt: r.CreatedAt.Time, UpdatedAt: r.UpdatedAt.Time,
	}
}

// lock reads a controller and keeps others from changing it; nil when there is none.
func (s *Store) lock(ctx context.Context, tx *sqlx.Tx, id string) (*row, error) {
	var found row
	err := tx.GetContext(ctx, &found, tx.Rebind(selectControllers+` WHERE controller_id = ?`+s.dialect.lockRow), id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // No row is an answer here, not an error.
	}
	return &found, err
}

// errRaced means that another call registered the controller between our look and our insert.
var errRaced = errors.New("raced with another registration")

// Register implements [service.Store].
func (s *Store) Register(ctx context.Context, r service.Registration, actor string) (*service.Transition, error) {
	transition, err := s.register(ctx, r, actor)
	if errors.Is(err, errRaced) {
		// The row is there now, so this time it is locked before it is changed.
		transition, err = s.register(ctx, r, actor)
	}
	return transition, err
}

func (s *Store) register(ctx context.Context, r service.Registration, actor string) (transition *service.Transition, err error) {
	err = s.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		old, err := s.lock(ctx, tx, r.ControllerID)
		if err != nil {
			return err
		}
		now, err := s.now(ctx, tx)
		if err != nil {
			return err
		}
		facts := service.Facts{Reported: service.HealthPending, OperatorDraining: old != nil && old.OperatorDraining}
		at := s.dialect.bind(now)
		conflict := ` DO UPDATE SET region = excluded.region, endpoint = excluded.endpoint, grpc_endpoint = excluded.grpc_endpoint,
			webtransport_endpoint = excluded.webtransport_endpoint, max_meetings = excluded.max_meetings, max_participants = excluded.max_participants,
			reported_status = excluded.reported_status, stale = false, health_status = excluded.health_status, last_heartbeat_at = excluded.last_heartbeat_at`
		if old == nil {
			conflict = ` DO NOTHING`
		}
		result, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO meeting_controllers (controller_id, region, endpoint, grpc_endpoint, webtransport_endpoint,
			max_meetings, max_participants, health_status, reported_status, last_heartbeat_at, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (controller_id)`+conflict),
			r.ControllerID, r.Region, r.GRPCEndpoint, r.GRPCEndpoint, sql.NullString{String: r.WebTransportEndpoint, Valid: r.WebTransportEndpoint != ""},
			r.MaxMeetings, r.MaxParticipants, string(facts.Health()), string(facts.Reported), at, at, at)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errRaced)
		}
		change := service.Transition{
			ControllerID: r.ControllerID, Region: r.Region, At: now, To: facts.Health(), Cause: service.CauseRegister, Actor: actor,
			Reason: "registered", Reported: facts.Reported,
		}
		if old != nil {
			change.From, change.Silence = service.HealthStatus(old.Health), silence(now, old.LastHeartbeatAt.Time)
		}
		transition, err = s.record(ctx, tx, change)
		return err
	})
	return transition, err
}

// Heartbeat implements [service.Store].
func (s *Store) Heartbeat(ctx context.Context, h service.HeartbeatWrite) (result service.HeartbeatResult, err error) {
	err = s.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		old, err := s.lock(ctx, tx, h.ControllerID)
		if err != nil {
			return err
		}
		if old == nil {
			return service.ErrNotRegistered
		}
		if result.At, err = s.now(ctx, tx); err != nil {
			return err
		}
		facts := service.Facts{Reported: h.Reported, OperatorDraining: old.OperatorDraining}
		set := `UPDATE meeting_controllers SET current_meetings = ?, current_participants = ?, reported_status = ?, stale = false, health_status = ?, last_heartbeat_at = ?`
		values := []any{h.CurrentMeetings, h.CurrentParticipants, string(h.Reported), string(facts.Health()), s.dialect.bind(result.At)}
		if h.Usage != nil {
			set += `, cpu_usage_percent = ?, memory_usage_percent = ?`
			values = append(values, h.Usage.CPUPercent, h.Usage.MemoryPercent)
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind(set+` WHERE controller_id = ?`), append(values, h.ControllerID)...); err != nil {
			return err
		}
		result.Transition, err = s.record(ctx, tx, service.Transition{
			ControllerID: h.ControllerID, Region: old.Region, At: result.At, From: service.HealthStatus(old.Health), To: facts.Health(),
			Cause: service.CauseHeartbeat, Actor: h.Actor, Reason: "reported " + string(h.Reported),
			Silence: silence(result.At, old.LastHeartbeatAt.Time), Reported: h.Reported,
		})
		return err
	})
	if err != nil {
		return service.HeartbeatResult{}, err
	}
	return result, nil
}

// silence is never negative: the database's clock may have been set back.
func silence(now, last time.Time) time.Duration { return max(0, now.Sub(last)) }

// record writes a change of the public state to the history; nil when nothing changed.
func (s *Store) record(ctx context.Context, tx *sqlx.Tx, t service.Transition) (*service.Transition, error) {
	if t.From == t.To {
		return nil, nil //nolint:nilnil // No change is an answer here, not an error.
	}
	_, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO controller_transitions
		(controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
		t.ControllerID, t.Region, s.dialect.bind(t.At), sql.NullString{String: string(t.From), Valid: t.From != ""}, string(t.To), string(t.Cause),
		t.Actor, t.Reason, t.Silence.Milliseconds(), string(t.Reported))
	return &t, err
}

// Known implements [service.Store].
func (s *Store) Known(ctx context.Context, id string) (known bool, err error) {
	err = s.bounded(ctx, func(ctx context.Context) error {
		return s.read.GetContext(ctx, &known, s.read.Rebind(`SELECT EXISTS (SELECT 1 FROM meeting_controllers WHERE controller_id = ?)`), id)
	})
	return known, err
}

// Controller implements [service.Store].
func (s *Store) Controller(ctx context.Context, id string) (service.Controller, error) {
	var found row
	err := s.bounded(ctx, func(ctx context.Context) error {
		err := s.read.GetContext(ctx, &found, s.read.Rebind(selectControllers+` WHERE controller_id = ?`), id)
		if errors.Is(err, sql.ErrNoRows) {
			return service.ErrNotRegistered
		}
		return err
	})
	if err != nil {
		return service.Controller{}, err
	}
	return found.controller(), nil
}

// Controllers implements [service.Store].
func (s *Store) Controllers(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error) {
	query, values := selectControllers+` WHERE controller_id > ?`, []any{filter.AfterID}
	if filter.Region != "" {
		query, values = query+` AND region = ?`, append(values, filter.Region)
	}
	if filter.Health != "" {
		query, values = query+` AND health_status = ?`, append(values, string(filter.Health))
	}
	var found []row
	err := s.bounded(ctx, func(ctx context.Context) error {
		return s.read.SelectContext(ctx, &found, s.read.Rebind(query+` ORDER BY controller_id LIMIT ?`), append(values, filter.Limit)...)
	})
	if err != nil {
		return nil, err
	}
	controllers := make([]service.Controller, 0, len(found))
	for _, r := range found {
		controllers = append(controllers, r.controller())
	}
	return controllers, nil
}

// Summary implements [service.Summarizer].
func (s *Store) Summary(ctx context.Context) (summary []service.RegionSummary, err error) {
	err = s.bounded(ctx, func(ctx context.Context) error {
		rows, err := s.read.QueryContext(ctx, `SELECT region, health_status, count(*), CAST(sum(max_meetings) AS bigint), CAST(sum(current_meetings) AS bigint)
			FROM meeting_controllers GROUP BY region, health_status ORDER BY region, health_status`)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var r service.RegionSummary
			if err := rows.Scan(&r.Region, &r.Health, &r.Controllers, &r.MaxMeetings, &r.CurrentMeetings); err != nil {
				return err
			}
			summary = append(summary, r)
		}
		return rows.Err()
	})
	return summary, err
}
