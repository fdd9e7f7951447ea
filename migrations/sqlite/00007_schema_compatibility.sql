-- +goose Up
-- A migration that older binaries cannot bear raises the number; ADR 0033 says to what.
CREATE TABLE schema_compatibility (
    id                smallint PRIMARY KEY CHECK (id = 1),
    min_binary_schema bigint   NOT NULL CHECK (min_binary_schema >= 0)
);
INSERT INTO schema_compatibility VALUES (1, 2);

-- +goose Down
DROP TABLE schema_compatibility;
