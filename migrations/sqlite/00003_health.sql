-- Times are Unix milliseconds by the database's clock.

-- +goose Up
-- The Global Controllers that use this database; each writes its row with every beat.
CREATE TABLE replicas (
    replica_id                varchar(255) PRIMARY KEY,
    version                   text   NOT NULL,
    staleness_threshold_ms    bigint NOT NULL,
    fast_interval_ms          bigint NOT NULL,
    comprehensive_interval_ms bigint NOT NULL,
    max_connections           int    NOT NULL,
    started_at                bigint NOT NULL,
    seen_at                   bigint NOT NULL
);

-- The heartbeat interval that the last registration was answered with, and the staleness threshold of the replica that answered.
ALTER TABLE meeting_controllers ADD COLUMN told_fast_interval_ms bigint;
ALTER TABLE meeting_controllers ADD COLUMN told_threshold_ms bigint;

-- Controllers whose heartbeats a replica received and could not store, with the latest time.
CREATE TABLE heartbeat_failures (
    controller_id varchar(255) PRIMARY KEY,
    failed_at     bigint NOT NULL
);

-- One row: the last sweep.
CREATE TABLE checker_sweeps (
    id       smallint PRIMARY KEY CHECK (id = 1),
    swept_at bigint NOT NULL
);
INSERT INTO checker_sweeps VALUES (1, 0);

-- The last beat before the gap that ended at serviceable_since.
ALTER TABLE checker_state ADD COLUMN gap_began_at bigint NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE checker_state DROP COLUMN gap_began_at;
DROP TABLE checker_sweeps;
DROP TABLE heartbeat_failures;
ALTER TABLE meeting_controllers DROP COLUMN told_fast_interval_ms;
ALTER TABLE meeting_controllers DROP COLUMN told_threshold_ms;
DROP TABLE replicas;
