-- +goose Up
-- The history of a region is read by its ids, however long the rest of the history is.
CREATE INDEX idx_controller_transitions_region ON controller_transitions (region, id);

CREATE TABLE generation_floor (
    id    smallint PRIMARY KEY CHECK (id = 1),
    floor bigint NOT NULL CHECK (floor >= 0)
);
COMMENT ON TABLE generation_floor IS 'One row: above every generation of a controller that left, so that generations never repeat';
-- What controllers had that left before is not known: each decision that changed a state is in the history.
INSERT INTO generation_floor (id, floor)
SELECT 1, coalesce((SELECT max(generation) FROM meeting_controllers), 0) + (SELECT count(*) FROM controller_transitions WHERE cause = 'operator');

-- The default of the column is a function that reads the floor when the row is made: a registration may have waited for
-- the deletion of the same controller, and the snapshot of its statement is older.
-- +goose StatementBegin
CREATE FUNCTION first_generation() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (SELECT floor FROM generation_floor WHERE id = 1);
END
$$;
-- +goose StatementEnd
ALTER TABLE meeting_controllers ALTER COLUMN generation SET DEFAULT first_generation();

-- +goose StatementBegin
CREATE FUNCTION raise_generation_floor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE generation_floor SET floor = OLD.generation + 1 WHERE floor <= OLD.generation;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER meeting_controllers_generation AFTER DELETE ON meeting_controllers
    FOR EACH ROW EXECUTE FUNCTION raise_generation_floor();

-- +goose StatementBegin
CREATE FUNCTION raise_generation_floor_above_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE generation_floor SET floor = greatest(floor, (SELECT max(generation) + 1 FROM meeting_controllers));
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER meeting_controllers_generations BEFORE TRUNCATE ON meeting_controllers
    FOR EACH STATEMENT EXECUTE FUNCTION raise_generation_floor_above_all();

-- +goose Down
DROP TRIGGER meeting_controllers_generations ON meeting_controllers;
DROP TRIGGER meeting_controllers_generation ON meeting_controllers;
ALTER TABLE meeting_controllers ALTER COLUMN generation SET DEFAULT 0;
DROP FUNCTION raise_generation_floor_above_all();
DROP FUNCTION raise_generation_floor();
DROP FUNCTION first_generation();
DROP TABLE generation_floor;
DROP INDEX idx_controller_transitions_region;
