package operatorcli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The exit codes of gcctl. A process that a signal ended exits with 128 plus the number of the signal.
const (
	ExitFailure     = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitRefused     = 4
	ExitNoAccess    = 5
	ExitUnavailable = 6
	ExitNotDrained  = 7
)

// ExitCodesHelp is the part of the help about exit codes.
const ExitCodesHelp = `Exit codes:
  0    success
  1    another failure, a declined confirmation, or a failed check of doctor (a warning is not a failure)
  2    usage error: an invalid flag, argument or context file
  3    the controller is not registered
  4    refused: the drain is not safe, or the controller has changed in the meantime
  5    no access: the token is missing, invalid or expired, or lacks a scope
  6    the Global Controller or the auth controller is unavailable, too slow, or refuses calls by its rate limit
  7    drain --wait: the deadline has passed and meetings or participants are left
  130, 143, 129  interrupted by Ctrl-C, by SIGTERM, or by the end of the terminal
  141  the reader of the output has closed it, as in "| head -1"`

// Failure is an error with an exit code. Advice says what to do; it may be empty.
type Failure struct {
	Code    int
	Message string
	Advice  string
}

func (f *Failure) Error() string {
	if f.Advice == "" {
		return f.Message
	}
	return f.Message + "; " + f.Advice
}

// ErrInterrupted means that a signal ended the command.
var ErrInterrupted = errors.New("interrupted")

func newFailure(code int, format string, values ...any) error {
	return &Failure{Code: code, Message: fmt.Sprintf(format, values...)}
}

func usageError(format string, values ...any) error { return newFailure(ExitUsage, format, values...) }

// ExitCodeOf returns the exit code of an error of this package.
func ExitCodeOf(err error) int {
	var f *Failure
	if errors.As(err, &f) {
		return f.Code
	}
	return ExitFailure
}

// withoutAdvice returns the text of an error without its advice, for callers that retry or have advice of their own.
func withoutAdvice(err error) string {
	var f *Failure
	if errors.As(err, &f) {
		return f.Message
	}
	return err.Error()
}

// unavailableAdvice says what to do if a server cannot be reached.
func unavailableAdvice(isDevStack bool) string {
	if isDevStack {
		return "start one with gcctl dev, choose another with --context, or run gcctl doctor to find the cause"
	}
	return "run gcctl doctor to find the cause"
}

// unimplementedText is the part of an error by which doctor recognizes a call that the server does not have.
const unimplementedText = "does not implement this call"

// cursorGoneError means that the history does not continue from a cursor.
type cursorGoneError struct{ error }

func (e *cursorGoneError) Unwrap() error { return e.error }

// call describes a call of a Global Controller, for the text of its failure.
type call struct {
	address string
	// controllerID is the controller that the call is about; it may be empty.
	controllerID string
	// isChange is set if the call changes something.
	isChange bool
	// scope is the scope that the call needs.
	scope string
	// isDevStack is set if the server is expected to be the one of gcctl dev.
	isDevStack bool
}

// describeError returns a [Failure] for a gRPC error, and other errors as they are.
func (c call) describeError(ctx context.Context, err error) error {
	if _, isStatus := status.FromError(err); !isStatus {
		return err
	}
	if isInterrupted(ctx) {
		return ErrInterrupted
	}

	s := status.Convert(err)
	message := strings.TrimRight(clean(s.Message()), ". ")

	switch s.Code() {
	case codes.NotFound:
		return newFailure(ExitNotFound, "controller %s is not registered; list the controllers with gcctl fleet ls", c.controllerID)
	case codes.FailedPrecondition:
		return newFailure(ExitRefused, "refused: %s", message)
	case codes.Aborted:
		return newFailure(ExitRefused, "refused: controller %s has changed in the meantime; check with gcctl fleet show %s, then try again",
			c.controllerID, c.controllerID)
	case codes.InvalidArgument:
		return newFailure(ExitUsage, "invalid request: %s", message)
	case codes.OutOfRange:
		return &cursorGoneError{newFailure(ExitFailure, "%s", message)}
	case codes.Unauthenticated:
		return newFailure(ExitNoAccess, "the Global Controller at %s rejected the token; run gcctl doctor to find the cause", c.address)
	case codes.PermissionDenied:
		return newFailure(ExitNoAccess, "the token lacks the scope %s; show its scopes with gcctl token --show", c.scope)
	case codes.ResourceExhausted:
		return newFailure(ExitUnavailable, "rate limit reached (%s); try again later", message)
	case codes.Unimplemented:
		return newFailure(ExitFailure, "the Global Controller at %s %s: it is older than this gcctl, or another service listens there",
			c.address, unimplementedText)
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return &Failure{
			Code:    ExitUnavailable,
			Message: c.unavailableMessage(s.Code(), message) + c.unknownOutcomeHint(message),
			Advice:  unavailableAdvice(c.isDevStack),
		}
	}
	return newFailure(ExitFailure, "the Global Controller failed (%s); see its log", message)
}

func (c call) unavailableMessage(code codes.Code, message string) string {
	if code == codes.DeadlineExceeded {
		return fmt.Sprintf("the Global Controller at %s did not respond in time", c.address)
	}

	// gRPC puts a text of its own around the error of the network.
	if _, cause, isWrapped := strings.Cut(message, "Error while dialing: "); isWrapped {
		message = strings.TrimSuffix(cause, `"`)
	}
	switch {
	case strings.Contains(message, "frame too large"):
		return fmt.Sprintf("the server at %s does not use gRPC: check that this is not the HTTP address", c.address)
	case strings.Contains(message, "does not look like a TLS handshake"):
		return fmt.Sprintf("the server at %s does not use TLS", c.address)
	}
	return fmt.Sprintf("the Global Controller at %s is unavailable (%s)", c.address, message)
}

// unknownOutcomeHint says that a change may have been made although no response arrived. If the call was never sent, the hint is
// empty.
func (c call) unknownOutcomeHint(message string) string {
	if !c.isChange || strings.Contains(message, "connection error") {
		return ""
	}
	return fmt.Sprintf("; the outcome is unknown: check with gcctl fleet show %s", c.controllerID)
}

// isInterrupted reports whether ctx was ended by a signal rather than by a deadline.
func isInterrupted(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}
