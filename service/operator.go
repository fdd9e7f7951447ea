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
	return Drained{result.Controller, result.Plan}, nil
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

// Deregister lets operators take out any controller. Several controllers may share one token, so one that leaves by
// itself shows with the incarnation that is registered that it is the one that it speaks for.
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

func (c *controllers) ListTransitions(ctx context.Context, q TransitionQuery) (TransitionPage, error) {
	if err := q.Validate(); err != nil {
		return TransitionPage{}, err
	}
	size := q.PageSize
	if size == 0 {
		size = DefaultPageSize
	}
	list, err := c.store.Transitions(ctx, TransitionFilter{
		ControllerID: q.ControllerID,
		Region:       q.Region,
		After:        q.After,
		Fingerprint:  q.Fingerprint,
		Before:       q.Before,
		Since:        q.Since,
		Until:        q.Until,
		NewestFirst:  q.NewestFirst,
		Limit:        int(size),
	})
	if err != nil {
		return TransitionPage{}, fmt.Errorf("list transitions: %w", err)
	}
	found := list.Transitions
	page := TransitionPage{Transitions: found, Next: list.Through}
	if page.Next.ID < q.After {
		page.Next = Cursor{ID: q.After, Fingerprint: q.Fingerprint} // Another Global Controller was ahead.
	}
	if !q.NewestFirst && len(found) == int(size) {
		page.Next = found[len(found)-1].Cursor()
	}
	switch {
	case q.NewestFirst && len(found) == int(size):
		page.NextBefore = found[len(found)-1].ID
	case q.NewestFirst:
	case len(found) > 0:
		page.NextAfter = found[len(found)-1].ID
	default:
		page.NextAfter = q.After
	}
	return page, nil
}
