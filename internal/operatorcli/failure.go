package operatorcli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The exit codes of gcctl. A process that a signal ended has 128 and the number of the signal.
const (
	ExitFailure     = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitRefused     = 4
	ExitNoAccess    = 5
	ExitUnavailable = 6
	ExitNotDrained  = 7
)

// ExitCodes is how the help tells them.
const ExitCodes = `Exit codes:
  0  done
  1  something else went wrong, "no" was the answer, or the doctor found a fault (a warning is none)
  2  wrong use: a flag, an argument, the context file
  3  there is no such controller
  4  refused: the drain is not safe, or somebody else has changed the controller since
  5  no access: no token, or one that is not valid or may not do this
  6  the Global Controller or the auth controller is not there, too slow, or takes no more calls for now
  7  drain --wait: the deadline has passed and something is left
  130, 143, 129  interrupted: Ctrl-C, SIGTERM, a terminal that closed
  141  nothing reads the output any more, as behind "| head -1"`

// Failure is an error that has an exit code, and may say what to do.
type Failure struct {
	Code            int
	Message, Advice string
}

func (f *Failure) Error() string {
	if f.Advice == "" {
		return f.Message
	}
	return f.Message + "; " + f.Advice
}

// withoutAdvice is for those who try again by themselves, or know better.
func withoutAdvice(err error) string {
	var f *Failure
	if errors.As(err, &f) {
		return f.Message
	}
	return err.Error()
}

// adviceFor is what to do when nobody answers.
func adviceFor(dev bool) string {
	if dev {
		return "gcctl dev starts one, --context names another, and gcctl doctor finds out what is wrong"
	}
	return "gcctl doctor finds out what is wrong"
}

// ErrInterrupted means that a signal ended the command.
var ErrInterrupted = errors.New("interrupted")

func failed(code int, format string, values ...any) error {
	return &Failure{Code: code, Message: fmt.Sprintf(format, values...)}
}

// unknownCall is the error text for a call that the server does not have.
const unknownCall = "does not know this call"

// goneError means that the history does not go on from a cursor.
type goneError struct{ error }

func (e *goneError) Unwrap() error { return e.error }

func wrongUse(format string, values ...any) error { return failed(ExitUsage, format, values...) }

// CodeOf is the exit code of an error of this package.
func CodeOf(err error) int {
	var f *Failure
	if errors.As(err, &f) {
		return f.Code
	}
	return ExitFailure
}

// call is what was asked of a Global Controller, for the words of its failure.
type call struct {
	address string
	// id is the controller that it was about, or empty.
	id string
	// change tells that it was to change something.
	change bool
	scope  string
	// dev tells that it was asked of the stack of gcctl dev.
	dev bool
}

// explain turns what gRPC returned into words, what to do, and an exit code.
func (c call) explain(ctx context.Context, err error) error {
	if isInterrupt(ctx) {
		return ErrInterrupted
	}
	s := status.Convert(err)
	message := strings.TrimRight(clean(s.Message()), ". ")
	switch s.Code() {
	case codes.NotFound:
		return failed(ExitNotFound, "there is no controller %s in the fleet; gcctl fleet ls shows those that there are", c.id)
	case codes.FailedPrecondition:
		return failed(ExitRefused, "refused: %s", message)
	case codes.Aborted:
		return failed(ExitRefused, "refused: somebody else has decided about %s since it was looked at; see gcctl fleet show %s, then try again", c.id, c.id)
	case codes.InvalidArgument:
		return failed(ExitUsage, "the Global Controller does not take this: %s", message)
	case codes.OutOfRange:
		return &goneError{failed(ExitFailure, "%s", message)}
	case codes.Unauthenticated:
		return failed(ExitNoAccess, "the Global Controller at %s refuses the token; gcctl doctor finds out why", c.address)
	case codes.PermissionDenied:
		return failed(ExitNoAccess, "the token may not do this: it needs the scope %s; gcctl token --show tells what it may", c.scope)
	case codes.ResourceExhausted:
		return failed(ExitUnavailable, "too many calls (%s); try again in a while", message)
	case codes.Unimplemented:
		return failed(ExitFailure,
			"the Global Controller at %s %s: it is older than this gcctl, or something else answers there", c.address, unknownCall)
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return &Failure{ExitUnavailable, c.silent(s.Code(), message) + c.doubt(message), adviceFor(c.dev)}
	}
	return failed(ExitFailure, "the Global Controller failed (%s): its log says more", message)
}

func (c call) silent(code codes.Code, message string) string {
	if code == codes.DeadlineExceeded {
		return fmt.Sprintf("the Global Controller at %s did not answer in time", c.address)
	}
	// gRPC wraps what the network says in words of its own.
	if _, said, wrapped := strings.Cut(message, "Error while dialing: "); wrapped {
		message = strings.TrimSuffix(said, `"`)
	}
	switch {
	case strings.Contains(message, "frame too large"):
		return fmt.Sprintf("what answers at %s does not speak gRPC: it may be the address of HTTP", c.address)
	case strings.Contains(message, "does not look like a TLS handshake"):
		return fmt.Sprintf("what answers at %s does not speak TLS", c.address)
	}
	return fmt.Sprintf("the Global Controller at %s is not available (%s)", c.address, message)
}

// doubt: an answer that did not come says nothing about what was done, unless the call never left.
func (c call) doubt(message string) string {
	if !c.change || strings.Contains(message, "connection error") {
		return ""
	}
	return fmt.Sprintf("; whether it has done it is not known: gcctl fleet show %s tells", c.id)
}

// isInterrupt tells whether a signal ended ctx, as opposed to a deadline.
func isInterrupt(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}
