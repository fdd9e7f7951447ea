package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"darktower.example/global-controller/service"
)

// heartbeatStatements are the statements that store heartbeats, with connections reserved for them.
type heartbeatStatements struct {
	db *sqlx.DB
	// waitLocked waits for rows that another transaction has locked; skipLocked skips them.
	waitLocked preparedStatement
	skipLocked preparedStatement
}

// heartbeatSettings prevent a scan of the whole fleet for a batch, and planning each batch again. The planner cannot
// know that the controllers of a batch are best read one by one, by their key, in the order of the arrays.
var heartbeatSettings = []setting{
	{"enable_hashjoin", "off"},
	{"enable_mergejoin", "off"},
	{"enable_seqscan", "off"},
	{"enable_bitmapscan", "off"},
	{"jit", "off"},
	{"plan_cache_mode", "force_generic_plan"},
}

// heartbeatSQL returns the statement that stores heartbeats and their transitions in one round trip. Its parameters are
// those of heartbeatColumns, and the columns of its result those of heartbeatRow. With skipLocked, the statement leaves out
// rows that another transaction has locked, instead of waiting for them.
func heartbeatSQL(skipLocked bool) string {
	lockedRowsSQL := ""
	if skipLocked {
		lockedRowsSQL = " SKIP LOCKED"
	}
	return lockHeartbeatRowsSQL + lockedRowsSQL + storeHeartbeatsSQL
}

// "old" locks the rows in the order of their ids, so that two statements cannot deadlock, and reads them once they are
// locked. The clock is read after that. The outcomes are the numbers of [heartbeatStatus]. Columns that only a transition
// needs are NULL in all other rows, to keep the result small.
var (
	lockHeartbeatRowsSQL = `WITH heartbeat AS (
	SELECT * FROM unnest($1::varchar[], $2::int[], $3::int[], $4::varchar[], $5::double precision[], $6::double precision[],
			$7::text[], $8::varchar[])
		WITH ORDINALITY AS h (controller_id, current_meetings, current_participants, reported_status, cpu, memory, actor, incarnation, n)
), old AS MATERIALIZED (
	SELECT m.controller_id, m.health_status, m.stale AS was_stale, m.last_heartbeat_at, m.operator_draining,
		h.current_meetings, h.current_participants, h.reported_status, h.cpu, h.memory, h.actor, h.n,
		h.incarnation <> '' AND m.incarnation IS NOT NULL AND m.incarnation <> h.incarnation AS superseded
	FROM meeting_controllers AS m JOIN heartbeat AS h USING (controller_id) ORDER BY m.controller_id FOR UPDATE OF m`

	storeHeartbeatsSQL = `
), stored AS (
	UPDATE meeting_controllers AS m SET current_meetings = f.current_meetings, current_participants = f.current_participants,
		cpu_usage_percent = coalesce(nullif(f.cpu, -1), m.cpu_usage_percent),
		memory_usage_percent = coalesce(nullif(f.memory, -1), m.memory_usage_percent),
		reported_status = f.reported_status, stale = f.stale, health_status = ` + healthSQL + `,
		last_heartbeat_at = clock_timestamp(), updated_at = clock_timestamp()
	FROM (SELECT old.*, false AS stale FROM old WHERE NOT old.superseded) AS f
	WHERE m.controller_id = f.controller_id
	RETURNING m.controller_id, m.region, m.health_status, m.reported_status, m.last_heartbeat_at,
		m.operator_draining, m.drain_until, m.drain_reason, f.n, f.actor, f.health_status AS from_status, f.last_heartbeat_at AS before,
		m.health_status <> f.health_status OR f.was_stale AS changed
), history AS (
	INSERT INTO controller_transitions (controller_id, region, at, from_status, to_status, cause, actor, reason, silence_ms, reported_status)
	SELECT controller_id, region, last_heartbeat_at, from_status, health_status, 'heartbeat', actor, 'reported ' || reported_status,
		greatest(0, floor(extract(epoch FROM last_heartbeat_at - before) * 1000))::bigint, reported_status
	FROM stored WHERE changed ORDER BY n
)
SELECT n, CASE WHEN changed THEN 2 ELSE 1 END AS outcome, (extract(epoch FROM last_heartbeat_at) * 1000000)::bigint AS at_us,
	operator_draining, drain_reason, drain_until,
	CASE WHEN changed THEN region END, CASE WHEN changed THEN from_status END, CASE WHEN changed THEN health_status END,
	CASE WHEN changed THEN before END
FROM stored
UNION ALL SELECT n, 3, 0, false, NULL, NULL, NULL, NULL, NULL, NULL FROM old WHERE superseded`
)

// usageUnchanged is the usage of a fast heartbeat: the statement keeps the stored one.
const usageUnchanged = -1

// heartbeatColumns are the parameters of [heartbeatSQL]: one array for each column.
type heartbeatColumns struct {
	controllerIDs pq.StringArray
	meetings      pq.Int64Array
	participants  pq.Int64Array
	reported      pq.StringArray
	cpu           pq.Float64Array
	memory        pq.Float64Array
	actors        pq.StringArray
	incarnations  pq.StringArray
}

func newHeartbeatColumns(heartbeats []service.HeartbeatWrite) *heartbeatColumns {
	n := len(heartbeats)
	c := &heartbeatColumns{
		controllerIDs: make(pq.StringArray, n),
		meetings:      make(pq.Int64Array, n),
		participants:  make(pq.Int64Array, n),
		reported:      make(pq.StringArray, n),
		cpu:           make(pq.Float64Array, n),
		memory:        make(pq.Float64Array, n),
		actors:        make(pq.StringArray, n),
		incarnations:  make(pq.StringArray, n),
	}

	for i, h := range heartbeats {
		c.controllerIDs[i] = h.ControllerID
		c.meetings[i] = h.CurrentMeetings
		c.participants[i] = h.CurrentParticipants
		c.reported[i] = string(h.Reported)
		c.actors[i] = storableText(h.Actor)
		c.incarnations[i] = h.Incarnation
		c.cpu[i], c.memory[i] = usageUnchanged, usageUnchanged
		if h.Usage != nil {
			c.cpu[i], c.memory[i] = h.Usage.CPUPercent, h.Usage.MemoryPercent
		}
	}

	return c
}

// values returns the parameters from $1 on.
func (c *heartbeatColumns) values() []any {
	return []any{c.controllerIDs, c.meetings, c.participants, c.reported, c.cpu, c.memory, c.actors, c.incarnations}
}

// heartbeatRow is a row of the result of [heartbeatSQL].
type heartbeatRow struct {
	number      int64 // of the heartbeat, from 1 on
	outcome     int64 // a heartbeatStatus; a scan into that type would allocate
	atMicros    int64
	isDraining  bool
	drainReason sql.NullString
	drainUntil  *dbTime
	// The following are set only if the outcome is heartbeatChanged.
	region   sql.NullString
	from, to sql.NullString
	before   *dbTime
}

// columns returns the destinations of a scan.
func (r *heartbeatRow) columns() []any {
	return []any{
		&r.number, &r.outcome, &r.atMicros, &r.isDraining, &r.drainReason, &r.drainUntil, &r.region, &r.from, &r.to, &r.before,
	}
}

// result converts the row of a heartbeat.
func (r *heartbeatRow) result(h service.HeartbeatWrite) heartbeatOutcome {
	status := heartbeatStatus(r.outcome)
	if status == heartbeatSuperseded {
		return heartbeatOutcome{status: status}
	}

	result := heartbeatOutcome{
		status: status,
		at:     time.UnixMicro(r.atMicros).UTC(),
		intent: row{OperatorDraining: r.isDraining, DrainReason: r.drainReason, DrainUntil: r.drainUntil}.intent(),
	}
	if status == heartbeatChanged {
		result.transition = change{
			ControllerID:  h.ControllerID,
			Region:        r.region.String,
			From:          r.from,
			To:            r.to.String,
			At:            dbTime{result.at},
			Before:        r.before,
			EndsStaleness: true,
		}.transition(service.CauseHeartbeat, h.Actor, heartbeatReason(h), h.Reported)
	}

	return result
}

// writeHeartbeatsPostgres is writeHeartbeats by one statement.
func (s *Store) writeHeartbeatsPostgres(ctx context.Context, heartbeats []service.HeartbeatWrite, skipLocked bool) (
	[]heartbeatOutcome, error,
) {
	statement := &s.heartbeat.waitLocked
	if skipLocked {
		statement = &s.heartbeat.skipLocked
	}
	rows, err := statement.query(ctx, s.heartbeat.db, newHeartbeatColumns(heartbeats).values()...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()

	var found heartbeatRow
	columns := found.columns()
	outcomes := make([]heartbeatOutcome, len(heartbeats))

	// Read to the end: the statement is committed only then.
	for rows.Next() {
		if err := rows.Scan(columns...); err != nil {
			return nil, err
		}
		i := found.number - 1
		outcomes[i] = found.result(heartbeats[i])
	}
	return outcomes, rows.Err()
}

// findRegistered returns which of the ids have a row.
func (s *Store) findRegistered(ctx context.Context, ids []string) (map[string]bool, error) {
	return run(ctx, s, "known", func(ctx context.Context) (map[string]bool, error) {
		var found []string
		// On the connection that the batch has just returned, so that heartbeats wait for no other call.
		if err := s.heartbeat.db.SelectContext(ctx, &found,
			`SELECT controller_id FROM meeting_controllers WHERE controller_id = ANY($1)`, pq.StringArray(ids)); err != nil {
			return nil, err
		}

		isRegistered := make(map[string]bool, len(found))
		for _, id := range found {
			isRegistered[id] = true
		}
		return isRegistered, nil
	})
}
