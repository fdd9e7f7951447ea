package service

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
)

func (c *globalController) GetController(ctx context.Context, q ControllerQuery) (Controller, error) {
	if err := q.Validate(); err != nil {
		return Controller{}, err
	}
	controller, err := c.store.Controller(ctx, q.ControllerID)
	if err != nil {
		return Controller{}, fmt.Errorf("get controller %s: %w", q.ControllerID, err)
	}
	return controller, nil
}

func (c *globalController) ListControllers(ctx context.Context, q ListQuery) (ControllerPage, error) {
	if err := q.Validate(); err != nil {
		return ControllerPage{}, err
	}
	after, err := decodePageToken(q.PageToken)
	if err != nil {
		return ControllerPage{}, err
	}

	// One controller more than the page has shows whether another page follows.
	size := pageSizeOrDefault(q.PageSize)
	found, err := c.store.Controllers(ctx, ControllerFilter{Region: q.Region, Health: q.Health, AfterID: after, Limit: size + 1})
	if err != nil {
		return ControllerPage{}, fmt.Errorf("list controllers: %w", err)
	}

	if len(found) <= size {
		return ControllerPage{Controllers: found}, nil
	}
	found = found[:size]
	return ControllerPage{Controllers: found, NextPageToken: encodePageToken(found[size-1].ControllerID)}, nil
}

func (c *globalController) ListTransitions(ctx context.Context, q TransitionQuery) (TransitionPage, error) {
	if err := q.Validate(); err != nil {
		return TransitionPage{}, err
	}

	size := pageSizeOrDefault(q.PageSize)
	list, err := c.store.Transitions(ctx, TransitionFilter{
		ControllerID: q.ControllerID,
		Region:       q.Region,
		After:        q.After,
		Fingerprint:  q.Fingerprint,
		Before:       q.Before,
		Since:        q.Since,
		Until:        q.Until,
		NewestFirst:  q.NewestFirst,
		Limit:        size,
	})
	if err != nil {
		return TransitionPage{}, fmt.Errorf("list transitions: %w", err)
	}
	return newTransitionPage(q, list, size), nil
}

// newTransitionPage returns the page with the positions from which the next request continues.
func newTransitionPage(q TransitionQuery, list TransitionList, size int) TransitionPage {
	found := list.Transitions
	page := TransitionPage{Transitions: found, Next: list.Through}
	if page.Next.ID < q.After {
		page.Next = Cursor{ID: q.After, Fingerprint: q.Fingerprint} // Another Global Controller was ahead.
	}

	isFull := len(found) == size
	if q.NewestFirst {
		if isFull {
			page.NextBefore = found[len(found)-1].ID
		}
		return page
	}

	page.NextAfter = q.After
	if len(found) > 0 {
		page.NextAfter = found[len(found)-1].ID
	}
	if isFull {
		page.Next = found[len(found)-1].Cursor()
	}
	return page
}

func (c *globalController) ListRegions(ctx context.Context, _ RegionQuery) (Regions, error) {
	found, err := c.store.Regions(ctx)
	if err != nil {
		return Regions{}, fmt.Errorf("list regions: %w", err)
	}

	regions := Regions{Regions: found}
	for _, r := range found {
		if regions.AsOf.IsZero() || r.AsOf.Before(regions.AsOf) {
			regions.AsOf = r.AsOf
		}
	}
	return regions, nil
}

func (c *globalController) ListReplicas(ctx context.Context, _ ReplicaQuery) (ReplicaList, error) {
	list, err := c.store.Replicas(ctx)
	if err != nil {
		return ReplicaList{}, fmt.Errorf("list replicas: %w", err)
	}
	return list, nil
}

func (c *globalController) Watch(ctx context.Context, q WatchQuery) (Watch, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if c.watchHub == nil {
		return nil, fmt.Errorf("watch: %w", ErrUnavailable)
	}

	watch, err := c.watchHub.Watch(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return watch, nil
}

func pageSizeOrDefault(requested int64) int {
	if requested == 0 {
		return DefaultPageSize
	}
	return int(requested)
}

// pageTokenVersion distinguishes this form of page tokens from later ones.
const pageTokenVersion = "1:"

func encodePageToken(lastID string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(pageTokenVersion + lastID))
}

// errInvalidPageToken is the error of a page token that this service did not return.
var errInvalidPageToken = Invalid("page_token is not one that this service returned")

func decodePageToken(token string) (afterID string, err error) {
	if token == "" {
		return "", nil
	}
	afterID, err = decodeToken(token)
	if err == nil && !IsValidControllerID(afterID) {
		err = errInvalidPageToken
	}
	if err != nil {
		return "", err
	}
	return afterID, nil
}

// decodeToken returns the text that encodePageToken encoded.
func decodeToken(token string) (string, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return "", errInvalidPageToken
	}
	text, hasVersion := strings.CutPrefix(string(raw), pageTokenVersion)
	if !hasVersion {
		return "", errInvalidPageToken
	}
	return text, nil
}
