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

// Call describes a call to the middleware. The transport puts it into the call's context.
type Call struct {
	Transport string // "grpc" or "http"
	RequestID string
	// Address is the peer's address without its port.
	Address string
	// Connection is the peer's address with its port, nil if connections do not identify callers.
	Connection net.Addr
	// Authorization holds the values of the header as received. It is never logged.
	Authorization []string
	// DecodeErr is the error of decoding the message, if the transport detects it before the request is converted.
	DecodeErr error
}

type callKey struct{}

// WithCall returns a context that carries the call.
func WithCall(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// CallFrom returns the call of the context, an empty one if there is none.
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

// AuthPolicy sets what a verified token allows.
type AuthPolicy struct {
	// OnUnverifiable is called for each heartbeat whose token this replica cannot verify at present; controllerID is the id that
	// the caller claims. It may be nil.
	OnUnverifiable func(controllerID string)
	// OnRefused is called for each call of a controller that was refused although the signature of its token is valid. reason is
	// one of those of [service.RefusedError]. It may be nil.
	OnRefused func(controllerID, reason string)
	// MCScopes lists the scopes of meeting controllers, each of which is sufficient.
	MCScopes []string
	// SubjectIsController allows a token only for the controller whose id is the token's subject.
	SubjectIsController bool
}

// mcServiceType is the service_type that a token must have, if it has one, for the calls of meeting controllers.
const mcServiceType = "meeting-controller"

// Authenticate verifies the call's token, checks the operation's scope, and puts the caller into the context. A call that the token
// does not allow still passes through the inner middleware, so that the caller's limit counts it.
func Authenticate(authenticator Authenticator, policy AuthPolicy) Middleware {
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				caller, err := authenticator.Authenticate(ctx, CallFrom(ctx).Authorization)
				if err != nil {
					policy.reportAuthFailure(op, request, err)
					return nil, err
				}

				caller.IsOperator = policy.isAllowed(caller, ScopeAdmin)
				ctx = service.WithCaller(ctx, caller)
				response, err := policy.callIfAllowed(ctx, caller, op, request, next)
				if err != nil {
					policy.reportRefusal(op, request, err)
				}
				return response, err
			}
		}
	}
}

// callIfAllowed continues the call of an authenticated caller, or refuses it.
func (p AuthPolicy) callIfAllowed(
	ctx context.Context, caller service.Caller, op Operation, request any, next endpoint.Endpoint,
) (any, error) {
	if !p.isAllowed(caller, op.Scope) {
		return passRefusal(ctx, next, request, service.ErrForbidden)
	}

	isBySelf := op.Scope == ScopeMC || (op.Scope == ScopeSelf && !caller.IsOperator)
	if id := controllerID(request); p.SubjectIsController && isBySelf && id != "" && id != caller.Subject {
		return passRefusal(ctx, next, request, service.ErrForbidden)
	}
	return next(ctx, request)
}

// reportAuthFailure reports a failed authentication of a controller.
func (p AuthPolicy) reportAuthFailure(op Operation, request any, err error) {
	id := loggedID(request)
	if p.OnUnverifiable != nil && id != "" && isHeartbeat(op) && errors.Is(err, service.ErrUnavailable) {
		p.OnUnverifiable(id)
	}
	var refused *service.RefusedError
	if p.OnRefused != nil && id != "" && op.Scope == ScopeMC && errors.As(err, &refused) {
		p.OnRefused(id, refused.Reason)
	}
}

// reportRefusal reports the refusal of an authenticated controller.
func (p AuthPolicy) reportRefusal(op Operation, request any, err error) {
	id, reason := loggedID(request), refusedReason(err)
	if p.OnRefused != nil && id != "" && op.Scope == ScopeMC && reason != "" {
		p.OnRefused(id, reason)
	}
}

// refusedReason returns the reason of an error that the caller caused, empty for every other outcome of a call.
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

// passRefusal passes a refusal on instead of the request: the endpoint returns it without calling the service.
func passRefusal(ctx context.Context, next endpoint.Endpoint, request any, err error) (any, error) {
	r, ok := request.(interface{ withRefusal(err error) any })
	if !ok {
		return nil, err
	}
	return next(ctx, r.withRefusal(err))
}

// refusalOf returns the error that the endpoint will return instead of calling the service, nil if it will call.
func refusalOf(request any) error {
	if r, ok := request.(interface{ refusal() error }); ok {
		return r.refusal()
	}
	return nil
}

// isAllowed reports whether the caller's token has the scope.
func (p AuthPolicy) isAllowed(caller service.Caller, scope Scope) bool {
	has := func(s string) bool { return slices.Contains(caller.Scopes, s) }
	switch scope {
	case ScopeMC:
		return slices.ContainsFunc(p.MCScopes, has) && (caller.ServiceType == nil || *caller.ServiceType == mcServiceType)
	case ScopeRead:
		return has(string(ScopeRead)) || has(string(ScopeAdmin))
	case ScopeAdmin:
		return has(string(ScopeAdmin))
	case ScopeAssign:
		return has(string(ScopeAssign)) || has(string(ScopeAdmin))
	case ScopeReadAssign:
		return p.isAllowed(caller, ScopeAssign) || p.isAllowed(caller, ScopeRead)
	case ScopeSelf:
		return p.isAllowed(caller, ScopeMC) || p.isAllowed(caller, ScopeAdmin)
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

// loggedID returns the id of the controller, empty if it is invalid: a caller may put anything there, such as a token.
func loggedID(request any) string {
	id := controllerID(request)
	if !service.IsValidControllerID(id) {
		return ""
	}
	return id
}

// Deadline limits the time of each call, because deployed controllers send no deadline. A call that already has an earlier
// deadline gets no second timer.
func Deadline(timeout time.Duration) Middleware {
	return func(Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				if at, ok := ctx.Deadline(); ok && time.Until(at) <= timeout {
					return next(ctx, request)
				}
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				return next(ctx, request)
			}
		}
	}
}

// errPanicked is the outcome of a call that did not return. The transport recovers and reports the panic itself.
var errPanicked = errors.New("panicked")

// Observe calls observe with the duration and the outcome of each call; ctx is the call's context.
func Observe(observe func(ctx context.Context, transport, operation string, err error, took time.Duration)) Middleware {
	return func(op Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (response any, err error) {
				began := time.Now()
				err = errPanicked // Until next returns.
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

// AfterAuthentication calls onAuthenticated once the caller of a call has been authenticated, whether or not the call is allowed.
// With nil it returns a middleware that does nothing.
func AfterAuthentication(onAuthenticated func(ctx context.Context)) Middleware {
	return func(Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			if onAuthenticated == nil {
				return next
			}
			return func(ctx context.Context, request any) (any, error) {
				onAuthenticated(ctx)
				return next(ctx, request)
			}
		}
	}
}

// RequireReady returns [service.ErrUnavailable] while isReady returns false.
func RequireReady(isReady func() bool) Middleware {
	return func(Operation) endpoint.Middleware {
		return func(next endpoint.Endpoint) endpoint.Endpoint {
			return func(ctx context.Context, request any) (any, error) {
				if !isReady() {
					return nil, fmt.Errorf("server is starting: %w", service.ErrUnavailable)
				}
				return next(ctx, request)
			}
		}
	}
}
