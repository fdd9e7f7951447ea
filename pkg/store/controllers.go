package store

import (
	"context"
	"database/sql"
	"errors"

	"darktower.example/global-controller/service"
)

// IsRegistered implements [service.Store].
func (s *Store) IsRegistered(ctx context.Context, id string) (bool, error) {
	return run(ctx, s, "known", func(ctx context.Context) (known bool, err error) {
		err = s.read.GetContext(ctx, &known, s.read.Rebind(`SELECT EXISTS (SELECT 1 FROM meeting_controllers WHERE controller_id = ?)`), id)
		return known, err
	})
}

// Controller implements [service.Store].
func (s *Store) Controller(ctx context.Context, id string) (service.Controller, error) {
	return run(ctx, s, "controller", func(ctx context.Context) (service.Controller, error) {
		var found row
		err := s.read.GetContext(ctx, &found, s.read.Rebind(s.dialect.showControllers()+` WHERE controller_id = ?`), id)
		if errors.Is(err, sql.ErrNoRows) {
			return service.Controller{}, service.ErrNotRegistered
		}
		return found.controller(), err
	})
}

// Controllers implements [service.Store].
func (s *Store) Controllers(ctx context.Context, filter service.ControllerFilter) ([]service.Controller, error) {
	query, values := s.dialect.showControllers()+` WHERE controller_id > ?`, []any{filter.AfterID}
	if filter.Region != "" {
		query, values = query+` AND region = ?`, append(values, filter.Region)
	}
	if filter.Health != "" {
		query, values = query+` AND health_status = ?`, append(values, string(filter.Health))
	}
	query, values = query+` ORDER BY controller_id LIMIT ?`, append(values, filter.Limit)
	return run(ctx, s, "controllers", func(ctx context.Context) ([]service.Controller, error) {
		var found []row
		if err := s.read.SelectContext(ctx, &found, s.read.Rebind(query), values...); err != nil {
			return nil, err
		}
		controllers := make([]service.Controller, 0, len(found))
		for _, r := range found {
			controllers = append(controllers, r.controller())
		}
		return controllers, nil
	})
}
