-- +goose Up
-- The history of a region is read by its ids, however long the rest of the history is.
CREATE INDEX idx_controller_transitions_region ON controller_transitions (region, id);

-- One row: above every generation of a controller that left, so that generations never repeat.
CREATE TABLE generation_floor (
    id    smallint PRIMARY KEY CHECK (id = 1),
    floor bigint NOT NULL CHECK (floor >= 0)
);
-- What controllers had that left before is not known: each decision that changed a state is in the history.
INSERT INTO generation_floor (id, floor)
SELECT 1, coalesce((SELECT max(generation) FROM meeting_controllers), 0) + (SELECT count(*) FROM controller_transitions WHERE cause = 'operator');

-- +goose StatementBegin
CREATE TRIGGER meeting_controllers_generation AFTER DELETE ON meeting_controllers
BEGIN
    UPDATE generation_floor SET floor = OLD.generation + 1 WHERE floor <= OLD.generation;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER meeting_controllers_first_generation AFTER INSERT ON meeting_controllers WHEN NEW.generation < (SELECT floor FROM generation_floor)
BEGIN
    UPDATE meeting_controllers SET generation = (SELECT floor FROM generation_floor) WHERE controller_id = NEW.controller_id;
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER meeting_controllers_first_generation;
DROP TRIGGER meeting_controllers_generation;
DROP TABLE generation_floor;
DROP INDEX idx_controller_transitions_region;
