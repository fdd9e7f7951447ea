package endpoints

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/go-kit/kit/endpoint"

	"darktower.example/global-controller/service"
)

// Call is what a transport knows about a call, put into its context once.
type Call struct {
	Transport string // "grpc" or "http"
	RequestID string
	// Address is the peer's, without its port.
	Address string
	// Connection is the peer's address with its port, nil where connections say nothing about their callers.
	Connection net.Addr
	// Authorization holds the values of the header as received. It is never logged.
	Authorization []string
	// DecodeErr is what was wrong with the message, where the transport learns that apart from the request.
	DecodeErr error
}

type callKey struct{}

// WithCall returns a context that carries the call.
func WithCall(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// CallFrom returns the call of the context, an empty one when there is none.
func CallFrom(ctx context.Context) *Call {
	if call, ok := ctx.Value(callKey{}).(*Call); ok {
		return call
	}
	return &Call{}
}

// Authenticator verifies the values of an authorization header. Its errors wrap [service.ErrUnauthenticated] or
// [service.ErrUnavailable].
type Authenticator interface {
	Authenticate(ctx context.Context, authorization []string) (service.Caller, error)
}

// AuthPolicy says what a verified token allows.
type AuthPolicy struct {
	// Unjudged is called for each heartbeat whose token this replica cannot verify at present; controllerID is what the caller
	// claims. It may be nil.
	Unjudged func(controllerID string)
	// Refused is called for each call that was refused although its token's signature is genuine; reason is one of those of
	// [service.RefusedError]. nil: not at all.
	Refused func(controllerID, reason string)
	// MCScopes are the scopes of which a meeting controller needs one.
	MCScopes []string
	// SubjectIsController demands that a token speaks only for the controller of its subject's name.
	SubjectIsController bool
}

// mcServiceType is what service_type must be, when a token has one, for the calls of meeting controllers.
const mcServiceType = "meeting-controller"

// Authenticate verifies the call's token, checks the operation's right, and puts the caller into the context. What the
// token does not allow still goes through the middleware that follows, so that the caller's limit counts it.
func Authenticate(authenticator Authenticator, policy AuthPolicy) Middleware {
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				caller, err := authenticator.Authenticate(ctx, CallFrom(ctx).Authorization)
				if err != nil {
					policy.report(op, request, err)
					return nil, err
				}
				caller.Operator = policy.allows(caller, ScopeAdmin)
				ctx = service.WithCaller(ctx, caller)
				response, err := policy.pass(ctx, caller, op, request, next)
				if err != nil {
					policy.reportRefused(op, request, err)
				}
				return response, err
			}
		}
	}
}

// pass continues the call of an authenticated caller, or refuses it.
func (p AuthPolicy) pass(ctx context.Context, caller service.Caller, op Operation, request any, next endpoint.Endpoint) (any, error) {
	if !p.allows(caller, op.Scope) {
		return refuse(ctx, next, request, service.ErrForbidden)
	}
	bySelf := op.Scope == ScopeMC || op.Scope == ScopeSelf && !caller.Operator
	if id := controllerID(request); p.SubjectIsController && bySelf && id != "" && id != caller.Subject {
		return refuse(ctx, next, request, service.ErrForbidden)
	}
	return next(ctx, request)
}

// report reports a failed authentication with the controller that it concerns.
func (p AuthPolicy) report(op Operation, request any, err error) {
	id := loggedID(request)
	if p.Unjudged != nil && id != "" && isHeartbeat(op) && errors.Is(err, service.ErrUnavailable) {
		p.Unjudged(id)
	}
	var refused *service.RefusedError
	if p.Refused != nil && id != "" && op.Scope == ScopeMC && errors.As(err, &refused) {
		p.Refused(id, refused.Reason)
	}
}

// reportRefused passes on why the call of an authenticated caller was refused.
func (p AuthPolicy) reportRefused(op Operation, request any, err error) {
	id, reason := loggedID(request), refusedReason(err)
	if p.Refused != nil && id != "" && op.Scope == ScopeMC && reason != "" {
		p.Refused(id, reason)
	}
}

// refusedReason is why a call was refused for its caller's sake, empty for every other end of a call.
func refusedReason(err error) string {
	var invalid *service.InvalidError
	switch {
	case errors.Is(err, service.ErrForbidden):
		return service.RefusedAccess
	case errors.Is(err, service.ErrRateLimited):
		return service.RefusedRate
	case errors.Is(err, service.ErrSuperseded):
		return service.RefusedSuperseded
	case errors.As(err, &invalid):
		return service.RefusedInvalid
	default:
		return ""
	}
}

// isHeartbeat reports whether the operation stores a heartbeat.
func isHeartbeat(op Operation) bool {
	return op.Name == "FastHeartbeat" || op.Name == "ComprehensiveHeartbeat"
}

// refuse sends a refusal in the request's place: the endpoint answers it without asking the service.
func refuse(ctx context.Context, next endpoint.Endpoint, request any, err error) (any, error) {
	r, ok := request.(interface{ refused(err error) any })
	if !ok {
		return nil, err
	}
	return next(ctx, r.refused(err))
}

// refusalOf is what the endpoint will answer instead of asking the service, nil when it will ask.
func refusalOf(request any) error {
	if r, ok := request.(interface{ refusal() error }); ok {
		return r.refusal()
	}
	return nil
}

func (p AuthPolicy) allows(caller service.Caller, scope Scope) bool {
	has := func(s string) bool { return slices.Contains(caller.Scopes, s) }
	switch scope {
	case ScopeMC:
		return slices.ContainsFunc(p.MCScopes, has) && (caller.ServiceType == nil || *caller.ServiceType == mcServiceType)
	case ScopeRead:
		return has(string(ScopeRead)) || has(string(ScopeAdmin))
	case ScopeAdmin:
		return has(string(ScopeAdmin))
	case ScopeSelf:
		return p.allows(caller, ScopeMC) || p.allows(caller, ScopeAdmin)
	default:
		return false
	}
}

func controllerID(request any) string {
	if r, ok := request.(interface{ ControllerID() string }); ok {
		return r.ControllerID()
	}
	return ""
}

// loggedID leaves out what is not an id: a caller may put anything there, a token for one.
func loggedID(request any) string {
	id := controllerID(request)
	if !validID(id) {
		return ""
	}
	return id
}

// validID tells whether a controller can have the id.
func validID(id string) bool { return service.ValidName(id, 255) }

// Deadline bounds each call: controllers in the field send no deadline of their own. A call that ends sooner anyway,
// by its caller's wish or because what came before took its time, needs no second timer.
func Deadline(bound time.Duration) Middleware {
	return func(Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				if at, ok := ctx.Deadline(); ok && time.Until(at) <= bound {
					return next(ctx, request)
				}
				ctx, cancel := context.WithTimeout(ctx, bound)
				defer cancel()
				return next(ctx, request)
			}
		}
	}
}

// errPanicked is how a call ended that did not return. The transport recovers and reports the panic itself.
var errPanicked = errors.New("panic")

// Observe tells observe how long each call took and how it ended; ctx is the call's.
func Observe(observe func(ctx context.Context, transport, operation string, err error, took time.Duration)) Middleware {
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (response any, err error) {
				began := time.Now()
				err = errPanicked // Unless next returns.
				defer func() { observe(ctx, CallFrom(ctx).Transport, op.Name, err, time.Since(began)) }()
				return next(ctx, request)
			}
		}
	}
}

// AnnotateSpan calls annotate with the operation, the transport and the controller of a call before the call continues.
// controllerID is empty for a call without a controller. With nil it returns a middleware that does nothing.
func AnnotateSpan(annotate func(ctx context.Context, operation, transport, controllerID string)) Middleware {
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			if annotate == nil {
				return next
			}
			return func(ctx context.Context, request any) (any, error) {
				annotate(ctx, op.Name, CallFrom(ctx).Transport, loggedID(request))
				return next(ctx, request)
			}
		}
	}
}

// AfterAuthentication has admitted called when the caller of a call has been authenticated, whether or not the call is allowed. nil costs
// nothing.
func AfterAuthentication(admitted func(ctx context.Context)) Middleware {
	return func(Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			if admitted == nil {
				return next
			}
			return func(ctx context.Context, request any) (any, error) {
				admitted(ctx)
				return next(ctx, request)
			}
		}
	}
}

// RequireReady answers [service.ErrUnavailable] while open says no.
func RequireReady(open func() bool) Middleware {
	return func(Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				if !open() {
					return nil, fmt.Errorf("still starting: %w", service.ErrUnavailable)
				}
				return next(ctx, request)
			}
		}
	}
}
