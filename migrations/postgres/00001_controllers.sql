-- +goose Up
CREATE TABLE meeting_controllers (
    controller_id         varchar(255) COLLATE "C" PRIMARY KEY,
    region                varchar(50)  NOT NULL,
    endpoint              varchar(255) NOT NULL,
    grpc_endpoint         varchar(255) NOT NULL,
    webtransport_endpoint varchar(255),
    max_meetings          int          NOT NULL CHECK (max_meetings > 0),
    current_meetings      int          NOT NULL DEFAULT 0 CHECK (current_meetings >= 0),
    max_participants      int          NOT NULL CHECK (max_participants > 0),
    current_participants  int          NOT NULL DEFAULT 0 CHECK (current_participants >= 0),
    health_status         varchar(20)  NOT NULL CHECK (health_status IN ('pending', 'healthy', 'degraded', 'unhealthy', 'draining')),
    reported_status       varchar(20)  NOT NULL DEFAULT 'pending'
        CHECK (reported_status IN ('pending', 'healthy', 'degraded', 'unhealthy', 'draining')),
    stale                 boolean      NOT NULL DEFAULT false,
    operator_draining     boolean      NOT NULL DEFAULT false,
    drain_since           timestamptz,
    drain_until           timestamptz,
    drain_reason          text,
    drain_by              text,
    cpu_usage_percent     double precision,
    memory_usage_percent  double precision,
    last_heartbeat_at     timestamptz  NOT NULL DEFAULT clock_timestamp(),
    created_at            timestamptz  NOT NULL DEFAULT clock_timestamp(),
    updated_at            timestamptz  NOT NULL DEFAULT clock_timestamp()
) WITH (
    -- Room for a second version of every row on a page, even when one batch writes all of them, keeps heartbeats heap-only.
    fillfactor = 45,
    -- Every row is rewritten every few seconds: vacuum by how many were, hardly by how many there are.
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 1000
);

COMMENT ON TABLE meeting_controllers IS 'The meeting controllers that registered';
COMMENT ON COLUMN meeting_controllers.controller_id IS 'The name that the controller gave itself';
COMMENT ON COLUMN meeting_controllers.region IS 'Where the controller runs';
COMMENT ON COLUMN meeting_controllers.endpoint IS 'Always equal to grpc_endpoint; older tools read it';
COMMENT ON COLUMN meeting_controllers.grpc_endpoint IS 'URL for calls from the Global Controller';
COMMENT ON COLUMN meeting_controllers.webtransport_endpoint IS 'URL for clients; NULL when there is none';
COMMENT ON COLUMN meeting_controllers.max_meetings IS 'Limit, set by registering';
COMMENT ON COLUMN meeting_controllers.current_meetings IS 'Load, set by heartbeats';
COMMENT ON COLUMN meeting_controllers.max_participants IS 'Limit, set by registering';
COMMENT ON COLUMN meeting_controllers.current_participants IS 'Load, set by heartbeats';
COMMENT ON COLUMN meeting_controllers.health_status IS 'The public state: follows from operator_draining, reported_status and stale';
COMMENT ON COLUMN meeting_controllers.reported_status IS 'pending after registering, then what the last heartbeat said';
COMMENT ON COLUMN meeting_controllers.stale IS 'Silent for longer than the threshold; set by the health checker, cleared by heartbeats';
COMMENT ON COLUMN meeting_controllers.operator_draining IS 'The operator''s intent; no heartbeat changes it';
COMMENT ON COLUMN meeting_controllers.drain_since IS 'When the operator asked for the drain';
COMMENT ON COLUMN meeting_controllers.drain_until IS 'By when it is to be over; NULL for no deadline';
COMMENT ON COLUMN meeting_controllers.drain_reason IS 'Why, in the operator''s words';
COMMENT ON COLUMN meeting_controllers.drain_by IS 'The subject of the operator''s token';
COMMENT ON COLUMN meeting_controllers.cpu_usage_percent IS '0 to 100; NULL until the first comprehensive heartbeat';
COMMENT ON COLUMN meeting_controllers.memory_usage_percent IS '0 to 100; NULL until the first comprehensive heartbeat';
COMMENT ON COLUMN meeting_controllers.last_heartbeat_at IS 'Last heartbeat or registration, by this database''s clock';
COMMENT ON COLUMN meeting_controllers.created_at IS 'First registration';
COMMENT ON COLUMN meeting_controllers.updated_at IS 'Last change of the row; kept by a trigger';

-- No index may hold last_heartbeat_at, current_* or updated_at: a heartbeat must stay a heap-only update.
CREATE INDEX idx_meeting_controllers_available ON meeting_controllers (region, health_status)
    WHERE health_status IN ('healthy', 'degraded');

-- +goose StatementBegin
CREATE FUNCTION meeting_controllers_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
-- +goose StatementEnd
-- A statement that sets a later time itself spares the call: heartbeats do, and are a fifth cheaper for it.
CREATE TRIGGER meeting_controllers_updated_at BEFORE UPDATE ON meeting_controllers
    FOR EACH ROW WHEN (NEW.updated_at <= OLD.updated_at) EXECUTE FUNCTION meeting_controllers_touch();

-- History outlives the row, so nothing refers to meeting_controllers.
CREATE TABLE controller_transitions (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    controller_id   varchar(255) COLLATE "C" NOT NULL,
    region          varchar(50) NOT NULL,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    from_status     varchar(20),
    to_status       varchar(20) NOT NULL,
    cause           varchar(20) NOT NULL CHECK (cause IN ('register', 'heartbeat', 'stale', 'operator', 'retired')),
    actor           text NOT NULL,
    reason          text NOT NULL,
    silence_ms      bigint NOT NULL CHECK (silence_ms >= 0),
    reported_status varchar(20) NOT NULL
);
COMMENT ON TABLE controller_transitions IS 'Every change of a controller''s public state, with its cause';
CREATE INDEX idx_controller_transitions_controller ON controller_transitions (controller_id, id);

CREATE TABLE checker_state (
    id                smallint PRIMARY KEY CHECK (id = 1),
    beat_at           timestamptz NOT NULL,
    serviceable_since timestamptz NOT NULL,
    swept_at          timestamptz NOT NULL
);
COMMENT ON TABLE checker_state IS 'One row: since when heartbeats can be committed without a gap, and the last sweep';

-- +goose Down
DROP TABLE checker_state;
DROP TABLE controller_transitions;
DROP TABLE meeting_controllers;
DROP FUNCTION meeting_controllers_touch();
