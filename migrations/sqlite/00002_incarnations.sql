-- +goose Up
-- The process that registered last; NULL when none ever said.
ALTER TABLE meeting_controllers ADD COLUMN incarnation varchar(64);
-- The processes before it, the latest first, separated by spaces.
ALTER TABLE meeting_controllers ADD COLUMN superseded text NOT NULL DEFAULT '';
-- Counts the operators' decisions.
ALTER TABLE meeting_controllers ADD COLUMN generation bigint NOT NULL DEFAULT 0;

-- Apart from the controllers, because a call that is refused changes nothing of them.
CREATE TABLE controller_conflicts (
    controller_id varchar(255) PRIMARY KEY,
    conflicts     bigint       NOT NULL,
    last_at       bigint       NOT NULL
);

CREATE INDEX idx_controller_transitions_at ON controller_transitions (at);

-- +goose Down
DROP INDEX idx_controller_transitions_at;
DROP TABLE controller_conflicts;
ALTER TABLE meeting_controllers DROP COLUMN incarnation;
ALTER TABLE meeting_controllers DROP COLUMN superseded;
ALTER TABLE meeting_controllers DROP COLUMN generation;
