-- +goose Up
-- The token subject that registered the controller last; empty for a registration before this column existed.
ALTER TABLE meeting_controllers ADD COLUMN owner varchar(255) NOT NULL DEFAULT '';

CREATE INDEX idx_meeting_controllers_owner ON meeting_controllers (owner);

-- +goose Down
DROP INDEX idx_meeting_controllers_owner;
ALTER TABLE meeting_controllers DROP COLUMN owner;
