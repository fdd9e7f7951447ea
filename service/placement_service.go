package service

import (
	"context"
	"fmt"
	"strings"
)

// AssignmentQuery asks for the assignment of a meeting in a region.
type AssignmentQuery struct{ AssignmentKey }

// AssignmentListQuery selects a page of live assignments. Empty strings select everything.
type AssignmentListQuery struct {
	MeetingID    string
	ControllerID string
	Region       string
	PageSize     int64  // 0: DefaultPageSize; at most MaxPageSize
	PageToken    string // NextPageToken of the previous page
}

// AssignmentPage is a page of assignments. NextPageToken is empty on the last page.
type AssignmentPage struct {
	Assignments   []Assignment
	NextPageToken string
}

// checkPlacement returns [ErrUnavailable] if this service assigns no meetings.
func (c *globalController) checkPlacement() error {
	if c.placer == nil {
		return fmt.Errorf("placement is off: %w", ErrUnavailable)
	}
	return nil
}

func (c *globalController) AssignMeeting(ctx context.Context, r AssignRequest) (AssignResponse, error) {
	if err := r.Validate(); err != nil {
		return AssignResponse{}, err
	}
	if err := c.checkPlacement(); err != nil {
		return AssignResponse{}, err
	}

	response, err := c.placer.Assign(ctx, r)
	if err != nil {
		return AssignResponse{}, fmt.Errorf("assign meeting %s in %s: %w", r.MeetingID, r.Region, err)
	}
	return response, nil
}

func (c *globalController) GetAssignment(ctx context.Context, q AssignmentQuery) (AssignResponse, error) {
	if err := q.Validate(); err != nil {
		return AssignResponse{}, err
	}
	if err := c.checkPlacement(); err != nil {
		return AssignResponse{}, err
	}

	found, err := c.assignments.Assignment(ctx, q.AssignmentKey)
	if err == nil && !found.IsConfirmed {
		err = ErrNotAssigned
	}
	if err != nil {
		return AssignResponse{}, fmt.Errorf("get assignment of %s in %s: %w", q.MeetingID, q.Region, err)
	}

	holder, err := c.store.Controller(ctx, found.ControllerID)
	if err != nil {
		return AssignResponse{}, fmt.Errorf("get controller of %s in %s: %w", q.MeetingID, q.Region, err)
	}
	return AssignResponse{Assignment: found, Controller: holder, IsReused: true}, nil
}

func (c *globalController) ListAssignments(ctx context.Context, q AssignmentListQuery) (AssignmentPage, error) {
	if err := q.Validate(); err != nil {
		return AssignmentPage{}, err
	}
	if err := c.checkPlacement(); err != nil {
		return AssignmentPage{}, err
	}
	after, err := decodeAssignmentToken(q.PageToken)
	if err != nil {
		return AssignmentPage{}, err
	}

	// One assignment more than the page has shows whether another page follows.
	size := pageSizeOrDefault(q.PageSize)
	found, err := c.assignments.Assignments(ctx, AssignmentFilter{
		MeetingID:    q.MeetingID,
		ControllerID: q.ControllerID,
		Region:       q.Region,
		After:        after,
		Limit:        size + 1,
	})
	if err != nil {
		return AssignmentPage{}, fmt.Errorf("list assignments: %w", err)
	}

	if len(found) <= size {
		return AssignmentPage{Assignments: found}, nil
	}
	found = found[:size]
	last := found[size-1].AssignmentKey
	return AssignmentPage{Assignments: found, NextPageToken: encodePageToken(last.MeetingID + assignmentSeparator + last.Region)}, nil
}

func (c *globalController) EndAssignment(ctx context.Context, order AssignmentEnd) (Assignment, error) {
	if err := order.Validate(); err != nil {
		return Assignment{}, err
	}
	if err := c.checkPlacement(); err != nil {
		return Assignment{}, err
	}

	order.Actor = CallerFrom(ctx).Subject
	if order.Reason == "" {
		order.Reason = "ended by " + order.Actor
	}
	ended, err := c.assignments.EndAssignment(ctx, order)
	if err != nil {
		return Assignment{}, fmt.Errorf("end assignment of %s in %s: %w", order.MeetingID, order.Region, err)
	}
	return ended, nil
}

// assignmentSeparator divides the key in a page token. No name contains it.
const assignmentSeparator = "."

func decodeAssignmentToken(token string) (AssignmentKey, error) {
	if token == "" {
		return AssignmentKey{}, nil
	}
	text, err := decodeToken(token)
	if err != nil {
		return AssignmentKey{}, err
	}
	meeting, region, ok := strings.Cut(text, assignmentSeparator)
	if !ok || !IsValidName(meeting, maxIDBytes) || !IsValidName(region, maxRegionBytes) {
		return AssignmentKey{}, errInvalidPageToken
	}
	return AssignmentKey{MeetingID: meeting, Region: region}, nil
}
