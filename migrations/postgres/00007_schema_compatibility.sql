-- +goose Up
-- A migration that older binaries cannot bear raises the number; ADR 0033 says to what.
CREATE TABLE schema_compatibility (
    id                smallint PRIMARY KEY CHECK (id = 1),
    min_binary_schema bigint   NOT NULL CHECK (min_binary_schema >= 0)
);
COMMENT ON TABLE schema_compatibility IS 'One row: which binaries may use this schema';
COMMENT ON COLUMN schema_compatibility.min_binary_schema IS 'The least schema version that a binary must know; an older one refuses to serve';
INSERT INTO schema_compatibility VALUES (1, 2);

-- +goose Down
DROP TABLE schema_compatibility;
