// Package endpoints has one typed go-kit endpoint for each operation, and the middleware around them. It depends on no transport and no
// store.
package endpoints

import (
	"context"
	"fmt"

	"github.com/go-kit/kit/endpoint"

	"darktower.example/global-controller/service"
)

// Endpoint is go-kit's endpoint, tagged with its types: a transport that pairs it with the decoder or encoder of another operation does
// not compile.
type Endpoint[Req, Resp any] endpoint.Endpoint

// Call runs the endpoint. decodeErr is the error of decoding req, nil if there was none. The endpoint returns it instead of calling
// the service, but only after the middleware ran. So a caller without a valid token gets only the error about the token.
func (e Endpoint[Req, Resp]) Call(ctx context.Context, req Req, decodeErr error) (Resp, error) {
	response, err := e(ctx, Request[Req]{Value: req, DecodeErr: decodeErr})
	if err != nil {
		var zero Resp
		return zero, err
	}
	return response.(Resp), nil //nolint:forcetypeassert // bind is the only maker of endpoints, and it returns a Resp.
}

// Request is the value that passes through the middleware.
type Request[Req any] struct {
	Value Req
	// DecodeErr is returned instead of a call of the service. Middleware may put its own refusal there.
	DecodeErr error
}

func (Request[Req]) withRefusal(err error) any { return Request[Req]{DecodeErr: err} }
func (r Request[Req]) refusal() error          { return r.DecodeErr }

// ControllerID returns the id of the controller that the call is about, empty if there is none or the request could not be decoded.
func (r Request[Req]) ControllerID() string {
	switch v := any(r.Value).(type) {
	case service.Registration:
		return v.ControllerID
	case service.FastHeartbeat:
		return v.ControllerID
	case service.ComprehensiveHeartbeat:
		return v.ControllerID
	case service.DrainOrder:
		return v.ControllerID
	case service.UndrainOrder:
		return v.ControllerID
	case service.Deregistration:
		return v.ControllerID
	default:
		return ""
	}
}

// Endpoints has one endpoint for each operation, under the operation's name.
type Endpoints struct {
	RegisterMC             Endpoint[service.Registration, service.RegistrationResponse]
	FastHeartbeat          Endpoint[service.FastHeartbeat, service.Acknowledgement]
	ComprehensiveHeartbeat Endpoint[service.ComprehensiveHeartbeat, service.Acknowledgement]
	StreamHeartbeats       Endpoint[service.HeartbeatStream, service.HeartbeatStream]
	NotifyMeetingEnded     Endpoint[service.MeetingEnded, service.Acknowledgement]
	GetController          Endpoint[service.ControllerQuery, service.Controller]
	ListControllers        Endpoint[service.ListQuery, service.ControllerPage]
	Drain                  Endpoint[service.DrainOrder, service.DrainResponse]
	Undrain                Endpoint[service.UndrainOrder, service.Controller]
	Deregister             Endpoint[service.Deregistration, service.DeregistrationResponse]
	ListTransitions        Endpoint[service.TransitionQuery, service.TransitionPage]
	ListRegions            Endpoint[service.RegionQuery, service.Regions]
	ListReplicas           Endpoint[service.ReplicaQuery, service.ReplicaList]
	Watch                  Endpoint[service.WatchQuery, service.Watch]
	AssignMeeting          Endpoint[service.AssignRequest, service.AssignResponse]
	GetAssignment          Endpoint[service.AssignmentQuery, service.AssignResponse]
	ListAssignments        Endpoint[service.AssignmentListQuery, service.AssignmentPage]
	EndAssignment          Endpoint[service.AssignmentEnd, service.Assignment]
}

// Scope is the permission that an operation needs.
type Scope string

// The scopes. ScopeMC stands for any of the configured scopes of meeting controllers; ScopeAdmin includes ScopeRead. ScopeSelf is
// ScopeAdmin, or ScopeMC for a controller that acts on itself; the service distinguishes the two. ScopeAssign allows assigning
// meetings, which ScopeAdmin includes; ScopeReadAssign is ScopeAssign or ScopeRead.
const (
	ScopeMC    Scope = "mc"
	ScopeRead  Scope = "gc:read"
	ScopeAdmin Scope = "gc:admin"
	ScopeSelf  Scope = "self"

	ScopeAssign     Scope = "gc:assign"
	ScopeReadAssign Scope = "read assignments"
)

// Operation describes an endpoint to the middleware.
type Operation struct {
	Name  string
	Scope Scope
}

// Operations lists every operation with the scope that it needs.
func Operations() []Operation {
	return []Operation{
		{"RegisterMC", ScopeMC},
		{"FastHeartbeat", ScopeMC},
		{"ComprehensiveHeartbeat", ScopeMC},
		{"StreamHeartbeats", ScopeMC},
		{"NotifyMeetingEnded", ScopeMC},
		{"GetController", ScopeRead},
		{"ListControllers", ScopeRead},
		{"Drain", ScopeAdmin},
		{"Undrain", ScopeAdmin},
		{"Deregister", ScopeSelf},
		{"ListTransitions", ScopeRead},
		{"ListRegions", ScopeRead},
		{"ListReplicas", ScopeRead},
		{"Watch", ScopeRead},
		{"AssignMeeting", ScopeAssign},
		{"GetAssignment", ScopeReadAssign},
		{"ListAssignments", ScopeReadAssign},
		{"EndAssignment", ScopeAssign},
	}
}

// OperationNames lists the names of all operations.
func OperationNames() []string {
	var names []string
	for _, op := range Operations() {
		names = append(names, op.Name)
	}
	return names
}

// Middleware makes the middleware of one operation.
type Middleware func(Operation) endpoint.Middleware

// Chain combines middleware; the first is the outermost.
func Chain(outermost Middleware, others ...Middleware) Middleware {
	return func(op Operation) endpoint.Middleware {
		inner := make([]endpoint.Middleware, 0, len(others))
		for _, m := range others {
			inner = append(inner, m(op))
		}
		return endpoint.Chain(outermost(op), inner...)
	}
}

// New binds every operation of svc and wraps it in middleware, once.
func New(svc service.Service, middleware Middleware) Endpoints {
	operations := make(map[string]Operation)
	for _, op := range Operations() {
		operations[op.Name] = op
	}
	wrap := func(name string) endpoint.Middleware {
		op, ok := operations[name]
		if !ok {
			panic(fmt.Sprintf("operation %s declares no scope", name)) //nolint:forbidigo // A mistake in this file, which every test finds.
		}
		return middleware(op)
	}

	return Endpoints{
		RegisterMC:             bind(svc.RegisterMC, wrap("RegisterMC")),
		FastHeartbeat:          bind(svc.FastHeartbeat, wrap("FastHeartbeat")),
		ComprehensiveHeartbeat: bind(svc.ComprehensiveHeartbeat, wrap("ComprehensiveHeartbeat")),
		StreamHeartbeats:       bind(svc.StreamHeartbeats, wrap("StreamHeartbeats")),
		NotifyMeetingEnded:     bind(svc.NotifyMeetingEnded, wrap("NotifyMeetingEnded")),
		GetController:          bind(svc.GetController, wrap("GetController")),
		ListControllers:        bind(svc.ListControllers, wrap("ListControllers")),
		Drain:                  bind(svc.Drain, wrap("Drain")),
		Undrain:                bind(svc.Undrain, wrap("Undrain")),
		Deregister:             bind(svc.Deregister, wrap("Deregister")),
		ListTransitions:        bind(svc.ListTransitions, wrap("ListTransitions")),
		ListRegions:            bind(svc.ListRegions, wrap("ListRegions")),
		ListReplicas:           bind(svc.ListReplicas, wrap("ListReplicas")),
		Watch:                  bind(svc.Watch, wrap("Watch")),
		AssignMeeting:          bind(svc.AssignMeeting, wrap("AssignMeeting")),
		GetAssignment:          bind(svc.GetAssignment, wrap("GetAssignment")),
		ListAssignments:        bind(svc.ListAssignments, wrap("ListAssignments")),
		EndAssignment:          bind(svc.EndAssignment, wrap("EndAssignment")),
	}
}

func bind[Req, Resp any](method func(context.Context, Req) (Resp, error), wrap endpoint.Middleware) Endpoint[Req, Resp] {
	return Endpoint[Req, Resp](wrap(func(ctx context.Context, request any) (any, error) {
		r := request.(Request[Req]) //nolint:forcetypeassert // Call is the only caller, and it is typed.
		if r.DecodeErr != nil {
			return nil, r.DecodeErr
		}
		return method(ctx, r.Value)
	}))
}
