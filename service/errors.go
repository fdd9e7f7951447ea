package service

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The errors that callers distinguish. Each layer wraps them with the operation that failed, and they are matched with errors.Is. The
// transports convert them to codes and fixed public texts, so a wrapped cause is logged but never sent.
var (
	// ErrNotRegistered means that the store has confirmed that it has no such controller. It is never used for a failure of the store. A
	// controller that receives it registers again once. If that attempt fails, it sends no more heartbeats.
	ErrNotRegistered = errors.New("controller not registered")
	// ErrUnauthenticated means that the call has no valid token.
	ErrUnauthenticated = errors.New("invalid token")
	// ErrForbidden means that the token is valid and does not allow the call.
	ErrForbidden = errors.New("access denied")
	// ErrRateLimited means that the caller has used up its quota for now.
	ErrRateLimited = errors.New("rate limit exceeded")
	// ErrUnavailable means that a dependency of the call is down or overloaded; a later attempt may succeed.
	ErrUnavailable = errors.New("unavailable")
	// ErrSuperseded means that another process has registered under the controller's id since.
	ErrSuperseded = errors.New("superseded by a newer incarnation")
	// ErrConflict means that the controller's generation is not the expected one: an operator has acted on it since.
	ErrConflict = errors.New("generation has changed")
	// ErrGone means that the history does not continue after the cursor. Either the cursor belongs to another history, such as one
	// that a restored backup replaced, or later transitions were pruned.
	ErrGone = errors.New("cursor does not belong to the history")
	// ErrUnsafe means that the drain would leave the controller's region short of capacity. See [UnsafeError].
	ErrUnsafe = errors.New("the drain is not safe")
)

// IsDomainError reports whether err is a result about a controller, a cursor or a caller's request, not a failure of the storage.
func IsDomainError(err error) bool {
	return errors.Is(err, ErrNotRegistered) ||
		errors.Is(err, ErrSuperseded) ||
		errors.Is(err, ErrConflict) ||
		errors.Is(err, ErrGone) ||
		errors.Is(err, ErrNotAssigned) ||
		errors.Is(err, ErrForbidden) ||
		errors.Is(err, ErrUnsafe) ||
		errors.As(err, new(*InvalidError))
}

// RetryError is a temporary error with the delay before the next attempt. Callers that fail at the same time get different delays.
type RetryError struct {
	After time.Duration
	Err   error
}

func (e *RetryError) Error() string { return e.Err.Error() }
func (e *RetryError) Unwrap() error { return e.Err }

// UnsafeError is the refusal of a drain that would leave the controller's region short of capacity. The operator may force it.
type UnsafeError struct{ Plan DrainPlan }

func (e *UnsafeError) Unwrap() error { return ErrUnsafe }

func (e *UnsafeError) Error() string {
	return "The drain is not safe: " + strings.Join(e.Plan.Reasons, "; ") + "; set force to drain anyway"
}

// OwnerLimitError refuses a new controller of a token subject that has reached its limit of controllers. Its text is public.
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

// ConditionError is an error of the storage whose condition has a name that may be public.
type ConditionError struct {
	// Name is one word, such as disk_full, read_only_sql_transaction or undefined_table.
	Name string
	Err  error
}

// Error returns the text of the wrapped error, which does not include the name.
func (e *ConditionError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *ConditionError) Unwrap() error { return e.Err }

// Reasons for which a caller is refused although its token's signature is valid.
const (
	RefusedKeyDropped  = "key no longer published"
	RefusedExpired     = "token expired"
	RefusedFuture      = "token issued in the future"
	RefusedNotYetValid = "token not valid yet"
	RefusedAccess      = "access denied"
	RefusedRate        = "rate limit exceeded"
	RefusedInvalid     = "invalid request"
	RefusedSuperseded  = "another process is registered"
)

// RefusedError is the refusal of a caller whose token has a valid signature. Reason is one of the constants above.
type RefusedError struct {
	Reason string
	Err    error
}

func (e *RefusedError) Error() string { return e.Reason + ": " + e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }
