package service

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The errors that a caller can be told apart by. They are wrapped with what was attempted on their way up and
// matched with errors.Is; the transports turn them into codes and fixed public texts, so a wrapped cause is
// logged but never sent.
var (
	// ErrNotRegistered means that the store answered and holds no such controller. It is never used for trouble:
	// a controller that reads it registers again, once, and stays silent if that one try fails.
	ErrNotRegistered = errors.New("controller not registered")
	// ErrUnauthenticated means that no valid token came with the call.
	ErrUnauthenticated = errors.New("invalid token")
	// ErrForbidden means that the token is valid and does not allow the call.
	ErrForbidden = errors.New("access denied")
	// ErrRateLimited means that the caller has used up its calls for now.
	ErrRateLimited = errors.New("rate limit exceeded")
	// ErrUnavailable means that something the call depends on is down or overloaded; trying again later may help.
	ErrUnavailable = errors.New("unavailable")
	// ErrSuperseded means that another process has registered under the controller's id since.
	ErrSuperseded = errors.New("superseded by a newer incarnation")
	// ErrConflict means that somebody else has decided about the controller since the caller looked.
	ErrConflict = errors.New("generation has changed")
	// ErrGone means that the history does not go on from the cursor: it belongs to another history, such as one that a
	// restored backup replaced, or changes after it were pruned.
	ErrGone = errors.New("cursor does not belong to the history")
	// ErrUnsafe means that the controller's region could not bear a drain. See [UnsafeError].
	ErrUnsafe = errors.New("the drain is not safe")
)

// RetryError is an error that goes away by itself, and when it is best tried again: callers who all failed at once
// are told different times.
type RetryError struct {
	After time.Duration
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

// UnsafeError is a refusal of a drain that the controller's region could not bear. It may be forced.
type UnsafeError struct{ Plan DrainPlan }

func (e *UnsafeError) Unwrap() error { return ErrUnsafe }

func (e *UnsafeError) Error() string {
	return "The drain is not safe: " + strings.Join(e.Plan.Reasons, "; ") + "; force drains all the same"
}

// OwnerLimitError refuses a new controller of a token subject that owns as many as it may. Its text is public.
type OwnerLimitError struct{ Owned, Limit int }

func (e *OwnerLimitError) Unwrap() error { return ErrRateLimited }

func (e *OwnerLimitError) Error() string {
	return fmt.Sprintf("Controller limit reached: this client owns %d controllers, at most %d are allowed (GC_MAX_CONTROLLERS_PER_SUBJECT)",
		e.Owned, e.Limit)
}

// InvalidError is a refusal of a caller's input. Its message is public and names the field.
type InvalidError struct{ Message string }

func (e *InvalidError) Error() string { return e.Message }

// Invalid returns an [InvalidError] with the given public message.
func Invalid(message string) error { return &InvalidError{Message: message} }
