-- +goose Up
ALTER TABLE replicas
    ADD COLUMN connection_limit int     NOT NULL DEFAULT 0,
    ADD COLUMN pooler           boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN replicas.connection_limit IS 'How many connections the replica opens at most now; 0 while it is not known';
COMMENT ON COLUMN replicas.pooler IS 'A connection pooler is between the replica and the database';

-- +goose Down
ALTER TABLE replicas DROP COLUMN connection_limit, DROP COLUMN pooler;
