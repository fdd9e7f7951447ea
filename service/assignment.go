package service

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotAssigned means that a meeting has no live assignment in a region.
	ErrNotAssigned = errors.New("meeting not assigned")
	// ErrNotEligible means that a controller was not eligible in the snapshot of the commit, so nothing was reserved.
	ErrNotEligible = errors.New("controller not eligible")
)

// AssignmentKey identifies an assignment: a meeting may have one in each region.
type AssignmentKey struct {
	MeetingID string
	Region    string
}

// Assignment binds a meeting in a region to a controller. It is a reservation until it is confirmed.
type Assignment struct {
	AssignmentKey

	ControllerID string
	// Generation fences earlier assignments: it only grows, over all meetings, also after rows were deleted.
	Generation int64
	// Incarnation is the controller's process when the meeting was assigned; empty if it has none.
	Incarnation string
	AssignedAt  time.Time
	// IsConfirmed is false for a reservation, which ends by itself at ExpiresAt.
	IsConfirmed bool
	ExpiresAt   time.Time
	// ExpectedParticipants is 0 if unknown.
	ExpectedParticipants int64
	// Reason is why this controller was chosen, in one line.
	Reason string
}

// Reservation is a request to reserve a controller for a meeting.
type Reservation struct {
	AssignmentKey

	ControllerID string
	// Incarnation is the controller's process that was chosen; empty if it has none.
	Incarnation          string
	ExpectedParticipants int64
	OrgID                string
	SeriesID             string
	Reason               string
	// ReplicaID is the replica that reserves, Actor the token subject that wants the meeting.
	ReplicaID string
	Actor     string
	// Lifetime is how long the reservation lasts without a confirmation. 0 confirms it at once, with its event.
	Lifetime time.Duration
	// Detail is the decision as JSON, for the event of a reservation that is confirmed at once.
	Detail string
}

// ReserveResult is the assignment after a reservation.
type ReserveResult struct {
	// Assignment is the caller's own if IsOwn, otherwise the live assignment or reservation of another caller.
	Assignment Assignment
	IsOwn      bool
}

// Confirmation turns a reservation into an assignment.
type Confirmation struct {
	AssignmentKey

	Generation int64
	Actor      string
	// Detail is the decision as JSON, for the event.
	Detail string
}

// AssignmentEnd ends an assignment.
type AssignmentEnd struct {
	AssignmentKey

	Reason string
	Actor  string
	// ExpectedGeneration is nil if any generation may end.
	ExpectedGeneration *int64
}

// AssignmentFilter selects live assignments; empty fields select all.
type AssignmentFilter struct {
	MeetingID    string
	ControllerID string
	Region       string
	// After is the key of the last assignment of the page before.
	After AssignmentKey
	Limit int
}

// AssignedLoad is what is assigned to a controller.
type AssignedLoad struct {
	ControllerID string
	// Meetings and Participants are of all live assignments and reservations. Participants are the expected ones.
	Meetings, Participants int64
	// MeetingsSince and ParticipantsSince are of those that were assigned after the controller's last heartbeat.
	MeetingsSince, ParticipantsSince int64
}

// AssignmentStore is the storage of assignments. Its methods have time limits and fail as those of [Store] do.
type AssignmentStore interface {
	// Reserve assigns a meeting to a controller unless it has a live assignment or reservation: then that is the result. An assignment whose
	// controller is stale or gone is moved. [ErrNotEligible] if the controller was not eligible in the snapshot of the commit.
	Reserve(ctx context.Context, r Reservation) (ReserveResult, error)
	// Confirm confirms a reservation and reports whether it did: not if it expired, moved or ended.
	Confirm(ctx context.Context, c Confirmation) (isConfirmed bool, err error)
	// Release ends a reservation of this generation without an event.
	Release(ctx context.Context, key AssignmentKey, generation int64) error
	// EndAssignment ends a live assignment. [ErrNotAssigned] if there is none, [ErrConflict] if it has another generation.
	EndAssignment(ctx context.Context, end AssignmentEnd) (Assignment, error)
	// Assignment returns the live assignment or reservation. [ErrNotAssigned] if there is none.
	Assignment(ctx context.Context, key AssignmentKey) (Assignment, error)
	// AssignedLoads returns what is assigned to the controllers of a region, reservations included.
	AssignedLoads(ctx context.Context, region string) ([]AssignedLoad, error)
	// Assignments returns at most Limit confirmed assignments in the order of meeting and region.
	Assignments(ctx context.Context, filter AssignmentFilter) ([]Assignment, error)
}
