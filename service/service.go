package service

import (
	"context"
	"time"
)

// Service has every operation of the Global Controller, grouped by the callers that it is for. Each method first validates its input
// and returns an [InvalidError] before anything is changed. Other errors: [ErrNotRegistered], [ErrUnavailable], the context's.
type Service interface {
	ControllerService
	OperatorService
	ToolService
	PlacementService
}

// ControllerService is what meeting controllers and media handlers call.
type ControllerService interface {
	// RegisterMC registers a controller, or renews its registration with new limits, and returns the heartbeat intervals.
	RegisterMC(ctx context.Context, r Registration) (RegistrationResponse, error)
	// FastHeartbeat stores a controller's load and state. If it returns no error, the heartbeat is committed.
	FastHeartbeat(ctx context.Context, h FastHeartbeat) (Acknowledgement, error)
	// ComprehensiveHeartbeat does the same and also stores the machine's CPU and memory usage.
	ComprehensiveHeartbeat(ctx context.Context, h ComprehensiveHeartbeat) (Acknowledgement, error)
	// StreamHeartbeats admits a stream of heartbeats. Each of its heartbeats is then a call of its own.
	StreamHeartbeats(ctx context.Context, s HeartbeatStream) (HeartbeatStream, error)
	// NotifyMeetingEnded records that a meeting is over.
	NotifyMeetingEnded(ctx context.Context, m MeetingEnded) (Acknowledgement, error)
}

// OperatorService is what operators call to change the fleet. A controller may call Deregister for itself.
type OperatorService interface {
	// Drain sets an operator's intent: the controller is draining, whatever it reports, until Undrain. It returns [UnsafeError] if
	// that would leave the region short of capacity and the order does not force it.
	Drain(ctx context.Context, order DrainOrder) (DrainResponse, error)
	// Undrain ends an operator's drain. The last report of the controller applies again.
	Undrain(ctx context.Context, order UndrainOrder) (Controller, error)
	// Deregister removes a controller from the fleet. An operator may remove any controller, and a controller itself if it names its
	// incarnation.
	Deregister(ctx context.Context, d Deregistration) (DeregistrationResponse, error)
}

// ToolService is what tools and the web page call to read the fleet.
type ToolService interface {
	// GetController returns one controller.
	GetController(ctx context.Context, q ControllerQuery) (Controller, error)
	// ListControllers returns a page of the fleet in a stable order.
	ListControllers(ctx context.Context, q ListQuery) (ControllerPage, error)
	// ListTransitions returns a page of the history.
	ListTransitions(ctx context.Context, q TransitionQuery) (TransitionPage, error)
	// ListRegions returns the totals of each region.
	ListRegions(ctx context.Context, q RegionQuery) (Regions, error)
	// ListReplicas lists the replicas over this store, and the state of the store.
	ListReplicas(ctx context.Context, q ReplicaQuery) (ReplicaList, error)
	// Watch opens a watch, which begins with a snapshot or continues after an earlier event.
	Watch(ctx context.Context, q WatchQuery) (Watch, error)
}

// PlacementService is what meeting services call to find the controller of a meeting.
type PlacementService interface {
	// AssignMeeting returns the controller of a meeting in a region, and chooses one if there is none. Concurrent and repeated calls
	// get the same controller. It returns [NoCandidateError] if no controller is eligible.
	AssignMeeting(ctx context.Context, r AssignRequest) (AssignResponse, error)
	// GetAssignment returns the live assignment of a meeting in a region, or [ErrNotAssigned].
	GetAssignment(ctx context.Context, q AssignmentQuery) (AssignResponse, error)
	// ListAssignments returns a page of live assignments in the order of meeting and region.
	ListAssignments(ctx context.Context, q AssignmentListQuery) (AssignmentPage, error)
	// EndAssignment ends an assignment and returns it. It returns [ErrNotAssigned] if there is none, and [ErrConflict] if it has another
	// generation than the expected one.
	EndAssignment(ctx context.Context, order AssignmentEnd) (Assignment, error)
}

// Observer is called for events of the service. Its methods must not block. It feeds the metrics and the health checker, which must
// not mistake a server-side failure for a missing heartbeat.
type Observer interface {
	// ObserveTransition reports a committed transition.
	ObserveTransition(t Transition)
	// ObserveCommit reports that a controller's heartbeat was stored.
	ObserveCommit(controllerID string)
	// ObserveFailure reports that a controller's heartbeat could not be stored for a server-side reason.
	ObserveFailure(controllerID string)
	// ObserveSuperseded reports a call of a process that another one has replaced: two processes use one id.
	ObserveSuperseded()
}

// Intervals are the heartbeat intervals that controllers get at registration.
type Intervals struct{ Fast, Comprehensive time.Duration }

// Option changes what [New] returns.
type Option func(*globalController)

// WithPlacement sets the parts that assign meetings. Without it the calls of [PlacementService] return [ErrUnavailable].
func WithPlacement(store AssignmentStore, placer *Placer) Option {
	return func(c *globalController) {
		c.assignments = store
		c.placer = placer
	}
}

// New returns the implementation of [Service]. If watchHub is nil, Watch returns [ErrUnavailable].
func New(store Store, intervals Intervals, observer Observer, watchHub WatchHub, options ...Option) Service {
	g := &globalController{
		store:     store,
		intervals: intervals,
		observer:  observer,
		watchHub:  watchHub,
		spreader:  NewLoadSpreader(intervals.Fast, time.Now),
	}
	for _, option := range options {
		option(g)
	}
	return g
}

// globalController implements [Service].
type globalController struct {
	store     Store
	intervals Intervals
	observer  Observer
	watchHub  WatchHub // May be nil.
	spreader  *LoadSpreader

	// Both are nil without placement.
	assignments AssignmentStore
	placer      *Placer
}

// observeTransition reports a transition to the observer. It does nothing for nil.
func (c *globalController) observeTransition(t *Transition) {
	if t != nil {
		c.observer.ObserveTransition(*t)
	}
}

// Caller is the party that a verified token identifies.
type Caller struct {
	Subject     string
	Scopes      []string
	IsOperator  bool    // May change the fleet.
	ServiceType *string // nil if the token has no service_type; an empty service_type is not nil.
}

type callerKey struct{}

// WithCaller returns a context that carries the caller, so that changes are recorded with their author.
func WithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerFrom returns the caller of a context; the zero Caller if the call is not authenticated.
func CallerFrom(ctx context.Context) Caller {
	caller, _ := ctx.Value(callerKey{}).(Caller)
	return caller
}
