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

// healthSQL is [service.Facts.Health] over a row with the columns operator_draining, reported_status and stale, which the statement
// names f. A test compares the two for every combination.
const healthSQL = `CASE WHEN f.operator_draining OR f.reported_status = 'draining' THEN 'draining'
	WHEN f.stale THEN 'unhealthy' ELSE f.reported_status END`

// row is a stored controller.
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
	Superseded           string         `db:"superseded"` // former incarnations, the latest first, with spaces between
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

// selectControllers reads the rows that a statement is about to change.
const selectControllers = `SELECT ` + controllerColumns + ` FROM meeting_controllers`

// selectShownControllers returns the SELECT for controllers that a caller gets: with conflicts and the database's time.
func (d dialect) selectShownControllers() string {
	return `SELECT ` + controllerColumns + `, ` + d.nowSQL + ` AS as_of, conflicts, last_at AS last_conflict_at
		FROM meeting_controllers LEFT JOIN controller_conflicts USING (controller_id)`
}

func (r row) facts() service.Facts {
	return service.Facts{OperatorDraining: r.OperatorDraining, Reported: service.HealthStatus(r.Reported), Stale: r.Stale}
}

func (r row) controller() service.Controller {
	c := service.Controller{
		ControllerID:         r.ControllerID,
		Region:               r.Region,
		GRPCEndpoint:         r.GRPCEndpoint,
		WebTransportEndpoint: r.WebTransportEndpoint.String,
		MaxMeetings:          r.MaxMeetings,
		CurrentMeetings:      r.CurrentMeetings,
		MaxParticipants:      r.MaxParticipants,
		CurrentParticipants:  r.CurrentParticipants,
		Facts:                r.facts(),
		Health:               service.HealthStatus(r.Health),
		CPUUsagePercent:      r.CPU,
		MemoryUsagePercent:   r.Memory,
		LastHeartbeatAt:      r.LastHeartbeatAt.Time,
		CreatedAt:            r.CreatedAt.Time,
		UpdatedAt:            r.UpdatedAt.Time,
		Generation:           r.Generation,
		Incarnation:          r.Incarnation.String,
		IncarnationConflicts: r.Conflicts.Int64,
		AsOf:                 r.AsOf.orZero(),
	}

	if r.LastConflictAt != nil {
		c.LastConflictAt = &r.LastConflictAt.Time
	}
	if r.OperatorDraining {
		c.Drain = &service.Drain{
			Deadline: r.DrainUntil.orZero(),
			Since:    r.DrainSince.orZero(),
			Reason:   r.DrainReason.String,
			By:       r.DrainBy.String,
		}
	}

	return c
}

// intent is the operator's intent as controllers receive it.
func (r row) intent() service.Intent {
	if !r.OperatorDraining {
		return service.Intent{}
	}
	return service.Intent{Draining: true, Deadline: r.DrainUntil.orZero().Truncate(time.Second), Reason: r.DrainReason.String}
}

// maxSuperseded is how many former incarnations of a controller are stored: enough for those that could still be running.
const maxSuperseded = 4

// supersededAfter returns the column superseded after another incarnation has registered.
func (r row) supersededAfter(incarnation string) string {
	if !r.Incarnation.Valid || incarnation == "" || r.Incarnation.String == incarnation {
		return r.Superseded
	}
	superseded := append([]string{r.Incarnation.String}, strings.Fields(r.Superseded)...)
	return strings.Join(superseded[:min(len(superseded), maxSuperseded)], " ")
}

// lockRow reads a controller and locks its row; it returns nil if there is no row.
func (s *Store) lockRow(ctx context.Context, tx *sqlx.Tx, id string) (*row, error) {
	var found row
	err := tx.GetContext(ctx, &found, tx.Rebind(selectControllers+` WHERE controller_id = ?`+s.dialect.lockRowSQL), id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // No row is a result here, not an error.
	}
	return &found, err
}

// storableText replaces zero bytes, which PostgreSQL cannot store in a text.
func storableText(s string) string {
	if strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}
