-- Times are Unix milliseconds by the database's clock.

-- +goose Up
CREATE TABLE meeting_controllers (
    controller_id         varchar(255) PRIMARY KEY,
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
    drain_since           bigint,
    drain_until           bigint,
    drain_reason          text,
    drain_by              text,
    cpu_usage_percent     real,
    memory_usage_percent  real,
    last_heartbeat_at     bigint  NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    created_at            bigint  NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at            bigint  NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);

CREATE INDEX idx_meeting_controllers_available ON meeting_controllers (region, health_status)
    WHERE health_status IN ('healthy', 'degraded');

-- +goose StatementBegin
CREATE TRIGGER meeting_controllers_updated_at AFTER UPDATE ON meeting_controllers WHEN NEW.updated_at = OLD.updated_at
BEGIN
    UPDATE meeting_controllers SET updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE controller_id = NEW.controller_id;
END;
-- +goose StatementEnd

-- History outlives the row, so nothing refers to meeting_controllers.
CREATE TABLE controller_transitions (
    id              integer PRIMARY KEY AUTOINCREMENT,
    controller_id   varchar(255) NOT NULL,
    region          varchar(50) NOT NULL,
    at              bigint NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    from_status     varchar(20),
    to_status       varchar(20) NOT NULL,
    cause           varchar(20) NOT NULL CHECK (cause IN ('register', 'heartbeat', 'stale', 'operator', 'retired')),
    actor           text NOT NULL,
    reason          text NOT NULL,
    silence_ms      bigint NOT NULL CHECK (silence_ms >= 0),
    reported_status varchar(20) NOT NULL
);
CREATE INDEX idx_controller_transitions_controller ON controller_transitions (controller_id, id);

CREATE TABLE checker_state (
    id                smallint PRIMARY KEY CHECK (id = 1),
    beat_at           bigint NOT NULL,
    serviceable_since bigint NOT NULL,
    swept_at          bigint NOT NULL
);

-- +goose Down
DROP TABLE checker_state;
DROP TABLE controller_transitions;
DROP TABLE meeting_controllers;
