-- +goose Up
ALTER TABLE meeting_controllers ADD COLUMN owner varchar(255) NOT NULL DEFAULT '';
COMMENT ON COLUMN meeting_controllers.owner IS 'The token subject that registered the controller last; empty for a registration before this column existed';

-- Heartbeats do not change owner, so they stay heap-only.
CREATE INDEX idx_meeting_controllers_owner ON meeting_controllers (owner);

-- +goose Down
DROP INDEX idx_meeting_controllers_owner;
ALTER TABLE meeting_controllers DROP COLUMN owner;
