-- +goose Up
-- How many connections the replica opens at most now, and whether a connection pooler is between: of PostgreSQL only.
ALTER TABLE replicas ADD COLUMN connection_limit int NOT NULL DEFAULT 0;
ALTER TABLE replicas ADD COLUMN pooler boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE replicas DROP COLUMN pooler;
ALTER TABLE replicas DROP COLUMN connection_limit;
