package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/service"
)

// healthSQL is [service.Facts.Health] over a row "f" of facts. A test compares the two for every combination.
const healthSQL = `CASE WHEN f.operator_draining OR f.reported_status = 'draining' THEN 'draining'
	WHEN f.stale THEN 'unhealthy' ELSE f.reported_status END`

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
	DrainSince           *dbTime        `db:"drain_since"`
	DrainUntil           *dbTime        `db:"drain_until"`
	DrainReason          sql.NullString `db:"drain_reason"`
	DrainBy              sql.NullString `db:"drain_by"`
	Generation           int64          `db:"generation"`
	Incarnation          sql.NullString `db:"incarnation"`
	Superseded           string         `db:"superseded"`
	Conflicts            sql.NullInt64  `db:"conflicts"`
	LastConflictAt       *dbTime        `db:"last_conflict_at"`
	LastHeartbeatAt      dbTime         `db:"last_heartbeat_at"`
	CreatedAt            dbTime         `db:"created_at"`
	UpdatedAt            dbTime         `db:"updated_at"`
	AsOf                 *dbTime        `db:"as_of"`
}

const controllerColumns = `controller_id, region, grpc_endpoint, webtransport_endpoint, max_meetings, current_meetings, max_participants,
	current_participants, health_status, reported_status, stale, operator_draining, drain_since, drain_until, drain_reason, drain_by,
	generation, incarnation, superseded, cpu_usage_percent, memory_usage_percent, last_heartbeat_at, created_at, updated_at`

const (
	// selectControllers is for what is about to be changed.
	selectControllers = `SELECT ` + controllerColumns + ` FROM meeting_controllers`
	// shownFrom is for what is shown.
	shownFrom = `, conflicts, last_at AS last_conflict_at FROM meeting_controllers LEFT JOIN controller_conflicts USING (controller_id)`
)

// showControllers is for what is shown, with the time by the database's clock.
func (d dialect) showControllers() string {
	return `SELECT ` + controllerColumns + `, ` + d.now + ` AS as_of` + shownFrom
}

func (r row) facts() service.Facts {
	return service.Facts{OperatorDraining: r.OperatorDraining, Reported: service.HealthStatus(r.Reported), Stale: r.Stale}
}

func (r row) controller() service.Controller {
	c := service.Controller{
		ControllerID: r.ControllerID, Region: r.Region, GRPCEndpoint: r.GRPCEndpoint, WebTransportEndpoint: r.WebTransportEndpoint.String,
		MaxMeetings: r.MaxMeetings, CurrentMeetings: r.CurrentMeetings, MaxParticipants: r.MaxParticipants, CurrentParticipants: r.CurrentParticipants,
		Facts: r.facts(), Health: service.HealthStatus(r.Health), CPUUsagePercent: r.CPU, MemoryUsagePercent: r.Memory,
		LastHeartbeatAt: r.LastHeartbeatAt.Time, CreatedAt: r.CreatedAt.Time, UpdatedAt: r.UpdatedAt.Time,
		Generation: r.Generation, Incarnation: r.Incarnation.String, IncarnationConflicts: r.Conflicts.Int64,
	}
	c.AsOf = r.AsOf.orZero()
	if r.LastConflictAt != nil {
		c.LastConflictAt = &r.LastConflictAt.Time
	}
	if r.OperatorDraining {
		c.Drain = &service.Drain{Deadline: r.DrainUntil.orZero(), Since: r.DrainSince.orZero(), Reason: r.DrainReason.String, By: r.DrainBy.String}
	}
	return c
}

// intent is what the operator wishes, as controllers are told it.
func (r row) intent() service.Intent {
	if !r.OperatorDraining {
		return service.Intent{}
	}
	return service.Intent{Draining: true, Deadline: r.DrainUntil.orZero().Truncate(time.Second), Reason: r.DrainReason.String}
}

// supersededKept is how many of the processes before the one that is registered are remembered: enough for those that
// could still be alive.
const supersededKept = 4

// supersededBy is what is to be remembered when another process takes the place of the one that is registered.
func (r row) supersededBy(incarnation string) string {
	if !r.Incarnation.Valid || incarnation == "" || r.Incarnation.String == incarnation {
		return r.Superseded
	}
	known := append([]string{r.Incarnation.String}, strings.Fields(r.Superseded)...)
	return strings.Join(known[:min(len(known), supersededKept)], " ")
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

// change is what a statement says of the public state that it found and of the one that it left. Before is when the
// controller had been heard until then; it and From are NULL for a new one.
type change struct {
	ControllerID string         `db:"controller_id"`
	Region       string         `db:"region"`
	From         sql.NullString `db:"from_status"`
	To           string         `db:"to_status"`
	At           dbTime         `db:"at"`
	Before       *dbTime        `db:"before"`
	// EndsStaleness is true when the controller was stale before the change and is not after it.
	EndsStaleness bool `db:"ends_staleness"`
}

// transition is what the change is to the caller; nil when neither the public state nor the staleness changed.
func (c change) transition(cause service.Cause, actor, reason string, reported service.HealthStatus) *service.Transition {
	if c.From.String == c.To && !c.EndsStaleness {
		return nil
	}
	t := &service.Transition{
		ControllerID: c.ControllerID, Region: c.Region, At: c.At.Time, From: service.HealthStatus(c.From.String), To: service.HealthStatus(c.To),
		Cause: cause, Actor: actor, Reason: reason, Reported: reported,
	}
	if c.Before != nil {
		t.Silence = silence(c.At.Time, c.Before.Time)
	}
	return t
}

// changedByCall is the change from the row's public state to the one given, by a call of the controller, which ends its
// staleness.
func (r row) changedByCall(now time.Time, to service.HealthStatus) change {
	c := r.changed(now, to)
	c.EndsStaleness = r.Stale
	return c
}

// changed is the change from the row's public state to the one given.
func (r row) changed(now time.Time, to service.HealthStatus) change {
	return change{
		ControllerID: r.ControllerID, Region: r.Region, From: sql.NullString{String: r.Health, Valid: true}, To: string(to),
		At: dbTime{now}, Before: &r.LastHeartbeatAt,
	}
}

// record writes changes to the history; nil stands for none.
func (s *Store) record(ctx context.Context, tx *sqlx.Tx, transitions ...*service.Transition) error {
	var values []any
	for _, t := range transitions {
		if t != nil {
			values = append(values, t.ControllerID, t.Region, s.dialect.bind(t.At), sql.NullString{String: string(t.From), Valid: t.From != ""},
				string(t.To), string(t.Cause), t.Actor, t.Reason, t.Silence.Milliseconds(), string(t.Reported))
		}
	}
	if len(values) == 0 {
		return nil
	}
	rows := strings.Repeat(", (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", len(values)/transitionColumns)
	_, err := tx.ExecContext(ctx, tx.Rebind(`INSERT INTO controller_transitions
		(controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status) VALUES `+rows[2:]), values...)
	return err
}

const transitionColumns = 10
