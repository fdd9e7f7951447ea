-- +goose Up
CREATE TABLE replicas (
    replica_id                varchar(255) COLLATE "C" PRIMARY KEY,
    version                   text         NOT NULL,
    staleness_threshold_ms    bigint       NOT NULL,
    fast_interval_ms          bigint       NOT NULL,
    comprehensive_interval_ms bigint       NOT NULL,
    max_connections           int          NOT NULL,
    started_at                timestamptz  NOT NULL,
    seen_at                   timestamptz  NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE replicas IS 'The Global Controllers that use this database; each writes its row with every beat';
COMMENT ON COLUMN replicas.seen_at IS 'The last beat of the replica, by this database''s clock';

ALTER TABLE meeting_controllers
    ADD COLUMN told_fast_interval_ms bigint,
    ADD COLUMN told_threshold_ms     bigint;
COMMENT ON COLUMN meeting_controllers.told_fast_interval_ms IS 'The heartbeat interval that the last registration was answered with';
COMMENT ON COLUMN meeting_controllers.told_threshold_ms IS 'The staleness threshold of the replica that answered the last registration';

-- Apart from the controllers: what keeps a heartbeat from being stored may be a lock on the controller's row.
CREATE TABLE heartbeat_failures (
    controller_id varchar(255) COLLATE "C" PRIMARY KEY,
    failed_at     timestamptz  NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE heartbeat_failures IS 'Controllers whose heartbeats a replica received and could not store, with the latest time';

-- Apart from checker_state, so that a sweep does not delay the beats.
CREATE TABLE checker_sweeps (
    id       smallint PRIMARY KEY CHECK (id = 1),
    swept_at timestamptz NOT NULL
);
COMMENT ON TABLE checker_sweeps IS 'One row: the last sweep; locked by the replica that sweeps';
INSERT INTO checker_sweeps VALUES (1, 'epoch');

ALTER TABLE checker_state ADD COLUMN gap_began_at timestamptz NOT NULL DEFAULT 'epoch';
COMMENT ON COLUMN checker_state.gap_began_at IS 'The last beat before the gap that ended at serviceable_since';

-- +goose Down
ALTER TABLE checker_state DROP COLUMN gap_began_at;
DROP TABLE checker_sweeps;
DROP TABLE heartbeat_failures;
ALTER TABLE meeting_controllers DROP COLUMN told_fast_interval_ms, DROP COLUMN told_threshold_ms;
DROP TABLE replicas;
