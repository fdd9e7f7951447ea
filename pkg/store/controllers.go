package store

import (
	"context"
	"database/sql"
	"errors"

	"darktower.example/global-controller/service"
)

// IsRegistered implements [service.Store].
func (s *Store) IsRegistered(ctx context.Context, id string) (bool, error) {
	return run(ctx, s, "known", func(ctx context.Context) (isRegistered bool, err error) {
		err = s.readDB.GetContext(ctx, &isRegistered,
			s.readDB.Rebind(`SELECT EXISTS (SELECT 1 FROM meeting_controllers WHERE controller_id = ?)`), id)
		return isRegistered, err
	})
}

// Controller implements [service.Store].
func (s *Store) Controller(ctx context.Context, id string) (service.Controller, error) {
	return run(ctx, s, "controller", func(ctx context.Context) (service.Controller, error) {
		var found row
		err := s.readDB.GetContext(ctx, &found, s.readDB.Rebind(s.dialect.selectShownControllers()+` WHERE controller_id = ?`), id)
		if errors.Is(err, sql.ErrNoRows) {
			return service.Controller{}, service.ErrNotRegistered
		}
		return found.controller(), err
	})
}

// Controllers implements [service.Store].
func (s *Store) Controllers(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error) {
	query := s.dialect.selectShownControllers() + ` WHERE controller_id > ?`
	values := []any{filter.AfterID}
	if filter.Region != "" {
		query += ` AND region = ?`
		values = append(values, filter.Region)
	}
	if filter.Health != "" {
		query += ` AND health_status = ?`
		values = append(values, string(filter.Health))
	}
	query += ` ORDER BY controller_id LIMIT ?`
	values = append(values, filter.Limit)

	return run(ctx, s, "controllers", func(ctx context.Context) ([]service.Controller, error) {
		var found []row
		if err := s.readDB.SelectContext(ctx, &found, s.readDB.Rebind(query), values...); err != nil {
			return nil, err
		}

		controllers := make([]service.Controller, 0, len(found))
		for _, r := range found {
			controllers = append(controllers, r.controller())
		}
		return controllers, nil
	})
}
