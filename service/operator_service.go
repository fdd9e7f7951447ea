package service

import (
	"context"
	"fmt"
)

func (c *globalController) Drain(ctx context.Context, order DrainOrder) (DrainResponse, error) {
	if err := order.Validate(); err != nil {
		return DrainResponse{}, err
	}

	result, err := c.store.Drain(ctx, order, CallerFrom(ctx).Subject)
	if err != nil {
		return DrainResponse{}, fmt.Errorf("drain controller %s: %w", order.ControllerID, err)
	}
	c.observeTransition(result.Transition)

	return DrainResponse{Controller: result.Controller, Plan: result.Plan}, nil
}

func (c *globalController) Undrain(ctx context.Context, order UndrainOrder) (Controller, error) {
	if err := order.Validate(); err != nil {
		return Controller{}, err
	}

	result, err := c.store.Undrain(ctx, order, CallerFrom(ctx).Subject)
	if err != nil {
		return Controller{}, fmt.Errorf("undrain controller %s: %w", order.ControllerID, err)
	}
	c.observeTransition(result.Transition)

	return result.Controller, nil
}

// Deregister removes any controller for an operator. A controller that leaves by itself must name the registered incarnation, because
// several controllers may share one token.
func (c *globalController) Deregister(ctx context.Context, d Deregistration) (DeregistrationResponse, error) {
	caller := CallerFrom(ctx)
	if !caller.IsOperator && d.Incarnation == "" {
		return DeregistrationResponse{}, ErrForbidden
	}
	if err := d.Validate(); err != nil {
		return DeregistrationResponse{}, err
	}

	transition, err := c.store.Deregister(ctx, d, caller.Subject, !caller.IsOperator)
	if err != nil {
		return DeregistrationResponse{}, fmt.Errorf("deregister controller %s: %w", d.ControllerID, err)
	}
	c.observeTransition(transition)

	return DeregistrationResponse{}, nil
}
