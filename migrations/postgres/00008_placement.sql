-- +goose Up
-- Generations are unique over all meetings and never repeat, also after rows were deleted.
CREATE SEQUENCE assignment_generation;

CREATE TABLE meeting_assignments (
    meeting_id            varchar(255) COLLATE "C" NOT NULL,
    region                varchar(50)  COLLATE "C" NOT NULL,
    meeting_controller_id varchar(255) COLLATE "C" NOT NULL,
    assigned_at           timestamptz  NOT NULL DEFAULT clock_timestamp(),
    assigned_by_gc_id     varchar(255) NOT NULL,
    ended_at              timestamptz,
    -- A row of an older tool names the columns above only: it is confirmed.
    confirmed_at          timestamptz  DEFAULT clock_timestamp(),
    expires_at            timestamptz,
    generation            bigint       NOT NULL DEFAULT nextval('assignment_generation'),
    incarnation           varchar(64),
    expected_participants int          NOT NULL DEFAULT 0 CHECK (expected_participants >= 0),
    org_id                varchar(255) NOT NULL DEFAULT '',
    series_id             varchar(255) NOT NULL DEFAULT '',
    requested_at          timestamptz  NOT NULL DEFAULT clock_timestamp(),
    reason                text         NOT NULL DEFAULT '',
    PRIMARY KEY (meeting_id, region)
) WITH (fillfactor = 80);

COMMENT ON TABLE meeting_assignments IS 'The controller of each meeting in each region';
COMMENT ON COLUMN meeting_assignments.meeting_controller_id IS 'No foreign key: the assignment outlives the row of its controller';
COMMENT ON COLUMN meeting_assignments.assigned_at IS 'When this generation was reserved';
COMMENT ON COLUMN meeting_assignments.assigned_by_gc_id IS 'The replica that reserved it';
COMMENT ON COLUMN meeting_assignments.ended_at IS 'NULL while it is live or reserved';
COMMENT ON COLUMN meeting_assignments.confirmed_at IS 'NULL for a reservation';
COMMENT ON COLUMN meeting_assignments.expires_at IS 'When a reservation ends by itself';
COMMENT ON COLUMN meeting_assignments.generation IS 'Fences earlier assignments of the meeting; only grows';
COMMENT ON COLUMN meeting_assignments.incarnation IS 'The process of the controller when the meeting was assigned; NULL if it has none';
COMMENT ON COLUMN meeting_assignments.requested_at IS 'The last request for it, written in batches';
COMMENT ON COLUMN meeting_assignments.reason IS 'Why this controller was chosen, in one line';

CREATE INDEX idx_meeting_assignments_controller ON meeting_assignments (meeting_controller_id) WHERE ended_at IS NULL;
CREATE INDEX idx_meeting_assignments_ended ON meeting_assignments (ended_at) WHERE ended_at IS NOT NULL;

-- Every change of an assignment has one event, written by the statement that makes it.
CREATE TABLE meeting_events (
    id                     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at                     timestamptz NOT NULL DEFAULT clock_timestamp(),
    meeting_id             varchar(255) COLLATE "C" NOT NULL,
    region                 varchar(50)  COLLATE "C" NOT NULL,
    generation             bigint       NOT NULL,
    kind                   varchar(20)  NOT NULL CHECK (kind IN ('assigned', 'moved', 'ended')),
    controller_id          varchar(255) COLLATE "C" NOT NULL,
    previous_controller_id varchar(255) COLLATE "C" NOT NULL DEFAULT '',
    reason                 text         NOT NULL,
    actor                  text         NOT NULL,
    detail                 text         NOT NULL DEFAULT ''
);
COMMENT ON TABLE meeting_events IS 'Every change of an assignment, in the order of its commit; history and outbox in one';
COMMENT ON COLUMN meeting_events.kind IS 'assigned: it had no controller; moved: from previous_controller_id; ended';
COMMENT ON COLUMN meeting_events.detail IS 'The decision as JSON, empty for events without one';
CREATE INDEX idx_meeting_events_meeting ON meeting_events (meeting_id, id);
CREATE INDEX idx_meeting_events_at ON meeting_events (at);

-- +goose Down
DROP TABLE meeting_events;
DROP TABLE meeting_assignments;
DROP SEQUENCE assignment_generation;
