package service

import (
	"context"

	"darktower.example/global-controller/service/placement"
)

// AskOutcome is what became of a request to a controller to accept a meeting.
type AskOutcome int

// The outcomes of a request to a controller.
const (
	// AskAccepted means that the controller runs the meeting.
	AskAccepted AskOutcome = iota + 1
	// AskRejected means that the controller refused.
	AskRejected
	// AskUnknown means that the request was sent and no response came, so the controller may run the meeting.
	AskUnknown
	// AskNotSent means that the controller got nothing.
	AskNotSent
)

// Asker asks a controller to accept a meeting. It never repeats a request. Reason says why the outcome is not AskAccepted.
type Asker interface {
	Ask(ctx context.Context, c Controller, key AssignmentKey) (outcome AskOutcome, reason string)
}

// Fleet is the placement's view of the controllers.
type Fleet interface {
	// Choose chooses a controller. If it is to count, the meeting is part of the controller's load at once, so that the next choice
	// sees it.
	Choose(ctx context.Context, r placement.Request, isCounted bool) (placement.Decision, Controller, error)
	// Controller returns a controller of one of the regions, and reports whether there is one.
	Controller(ctx context.Context, regions []string, controllerID string) (Controller, bool, error)
	// CoolDown makes a controller that refused a meeting not eligible for some time.
	CoolDown(controllerID, reason string)
}

// NoCandidateError means that no controller is eligible. Its text is public and sums up the reasons.
type NoCandidateError struct{ Reason string }

func (e *NoCandidateError) Error() string { return e.Reason }
func (e *NoCandidateError) Unwrap() error { return ErrUnavailable }
