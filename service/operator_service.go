package service

import (
	"context"
	"fmt"
)

func (c *controllers) Drain(ctx context.Context, order DrainOrder) (Drained, error) {
	if err := order.Validate(); err != nil {
		return Drained{}, err
	}

	result, err := c.store.Drain(ctx, order, CallerFrom(ctx).Subject)
	if err != nil {
		return Drained{}, fmt.Errorf("drain controller %s: %w", order.ControllerID, err)
	}
	c.changed(result.Transition)

	return Drained{Controller: result.Controller, Plan: result.Plan}, nil
}

func (c *controllers) Undrain(ctx context.Context, order UndrainOrder) (Controller, error) {
	if err := order.Validate(); err != nil {
		return Controller{}, err
	}

	result, err := c.store.Undrain(ctx, order, CallerFrom(ctx).Subject)
	if err != nil {
		return Controller{}, fmt.Errorf("undrain controller %s: %w", order.ControllerID, err)
	}
	c.changed(result.Transition)

	return result.Controller, nil
}

// Deregister removes any controller for an operator. Several controllers may share one token, so a controller that leaves by itself
// proves with the registered incarnation that it is the one that it names.
func (c *controllers) Deregister(ctx context.Context, d Deregistration) (Deregistered, error) {
	caller := CallerFrom(ctx)
	if !caller.Operator && d.Incarnation == "" {
		return Deregistered{}, ErrForbidden
	}
	if err := d.Validate(); err != nil {
		return Deregistered{}, err
	}

	transition, err := c.store.Deregister(ctx, d, caller.Subject, !caller.Operator)
	if err != nil {
		return Deregistered{}, fmt.Errorf("deregister controller %s: %w", d.ControllerID, err)
	}
	c.changed(transition)

	return Deregistered{}, nil
}
