-- +goose Up
ALTER TABLE meeting_controllers
    ADD COLUMN incarnation varchar(64),
    ADD COLUMN superseded  text   NOT NULL DEFAULT '',
    ADD COLUMN generation  bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN meeting_controllers.incarnation IS 'The process that registered last; NULL when none ever said';
COMMENT ON COLUMN meeting_controllers.superseded IS 'The processes before it, the latest first, separated by spaces';
COMMENT ON COLUMN meeting_controllers.generation IS 'Counts the operators'' decisions';
COMMENT ON COLUMN controller_transitions.to_status IS 'Empty when the controller left the fleet';

-- Apart from the controllers, because a call that is refused changes nothing of them.
CREATE TABLE controller_conflicts (
    controller_id varchar(255) COLLATE "C" PRIMARY KEY,
    conflicts     bigint       NOT NULL,
    last_at       timestamptz  NOT NULL
);
COMMENT ON TABLE controller_conflicts IS 'Calls of processes that another has taken the place of';

CREATE INDEX idx_controller_transitions_at ON controller_transitions (at);

-- +goose Down
DROP INDEX idx_controller_transitions_at;
DROP TABLE controller_conflicts;
COMMENT ON COLUMN controller_transitions.to_status IS NULL;
ALTER TABLE meeting_controllers DROP COLUMN incarnation, DROP COLUMN superseded, DROP COLUMN generation;
