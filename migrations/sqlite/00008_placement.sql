-- +goose Up
-- Generations are unique over all meetings and never repeat, also after rows were deleted.
CREATE TABLE assignment_generation (
    id   integer PRIMARY KEY CHECK (id = 1),
    last bigint  NOT NULL
);
INSERT INTO assignment_generation VALUES (1, 0);

CREATE TABLE meeting_assignments (
    meeting_id            varchar(255) NOT NULL,
    region                varchar(50)  NOT NULL,
    meeting_controller_id varchar(255) NOT NULL,
    assigned_at           bigint       NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    assigned_by_gc_id     varchar(255) NOT NULL,
    ended_at              bigint,
    -- A row of an older tool names the columns above only: it is confirmed.
    confirmed_at          bigint       DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    expires_at            bigint,
    generation            bigint       NOT NULL DEFAULT 0,
    incarnation           varchar(64),
    expected_participants int          NOT NULL DEFAULT 0 CHECK (expected_participants >= 0),
    org_id                varchar(255) NOT NULL DEFAULT '',
    series_id             varchar(255) NOT NULL DEFAULT '',
    requested_at          bigint       NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    reason                text         NOT NULL DEFAULT '',
    PRIMARY KEY (meeting_id, region)
) WITHOUT ROWID;

CREATE INDEX idx_meeting_assignments_controller ON meeting_assignments (meeting_controller_id) WHERE ended_at IS NULL;
CREATE INDEX idx_meeting_assignments_ended ON meeting_assignments (ended_at) WHERE ended_at IS NOT NULL;

-- +goose StatementBegin
CREATE TRIGGER meeting_assignments_generation AFTER INSERT ON meeting_assignments WHEN NEW.generation = 0
BEGIN
    UPDATE assignment_generation SET last = last + 1;
    UPDATE meeting_assignments SET generation = (SELECT last FROM assignment_generation)
        WHERE meeting_id = NEW.meeting_id AND region = NEW.region;
END;
-- +goose StatementEnd

-- Every change of an assignment has one event, written by the transaction that makes it.
CREATE TABLE meeting_events (
    id                     integer PRIMARY KEY AUTOINCREMENT,
    at                     bigint       NOT NULL,
    meeting_id             varchar(255) NOT NULL,
    region                 varchar(50)  NOT NULL,
    generation             bigint       NOT NULL,
    kind                   varchar(20)  NOT NULL CHECK (kind IN ('assigned', 'moved', 'ended')),
    controller_id          varchar(255) NOT NULL,
    previous_controller_id varchar(255) NOT NULL DEFAULT '',
    reason                 text         NOT NULL,
    actor                  text         NOT NULL,
    detail                 text         NOT NULL DEFAULT ''
);
CREATE INDEX idx_meeting_events_meeting ON meeting_events (meeting_id, id);
CREATE INDEX idx_meeting_events_at ON meeting_events (at);

-- +goose Down
DROP TABLE meeting_events;
DROP TABLE meeting_assignments;
DROP TABLE assignment_generation;
