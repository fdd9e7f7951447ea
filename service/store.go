package service

import (
	"context"
	"time"
)

// Store is the storage that the service needs. Every method is safe for concurrent use, bounds itself in time
// and returns [ErrUnavailable] (wrapped) when the storage is down or too slow, the context's own error when the
// caller's context ended, and [ErrNotRegistered] only when the storage answered that there is no such row.
// All times come from the storage's clock. What returns without an error is committed.
type Store interface {
	// Register inserts or renews a controller in one UPSERT: pending and not stale, the operator's intent, created_at
	// and the current load kept. The incarnation that is registered already keeps what it reported as well; one that
	// another has taken the place of gets [ErrSuperseded], and nothing is changed. One that names none leaves the one that is
	// registered: it does not say whether it speaks for another process.
	Register(ctx context.Context, r Registration, actor string) (RegisterResult, error)
	// Heartbeat stores what a controller reports and clears its staleness. An incarnation that is not the one registered
	// gets [ErrSuperseded], and nothing is changed. Where a side does not name its incarnation there is nothing to compare.
	Heartbeat(ctx context.Context, h HeartbeatWrite) (HeartbeatResult, error)
	// RecordConflict counts a call of a process whose id another process uses. It returns at once: counts are written
	// together, at most once a second.
	RecordConflict(controllerID string)
	// Drain sets the operator's intent. [ErrConflict] when the generation is not the expected one, [UnsafeError] when the
	// region could not bear it and the order does not force it; drains in one region are decided one after the other. The
	// result has the plan. A dry run changes nothing and is never refused as unsafe.
	Drain(ctx context.Context, order DrainOrder, actor string) (OperatorResult, error)
	// Undrain clears the operator's intent. [ErrConflict] as for Drain. A controller that nobody drains stays as it is.
	Undrain(ctx context.Context, order UndrainOrder, actor string) (OperatorResult, error)
	// Deregister removes a controller; its history stays. One that leaves by itself (byItself) while an operator drains it
	// stays in the store, reporting that it drains with no load: the operator's intent may be forgotten by the operator
	// only. [ErrForbidden] when it is by itself and no incarnation is registered, [ErrSuperseded] when the deregistration names
	// an incarnation that is not the one registered, [ErrConflict] as for Drain.
	Deregister(ctx context.Context, d Deregistration, actor string, byItself bool) (*Transition, error)
	// Regions adds up the fleet by region, in the order of their names.
	Regions(ctx context.Context) ([]Region, error)
	// ListReplicas lists the replicas that beat recently, in the order of their ids, and the state of the store.
	ListReplicas(ctx context.Context) (ReplicaList, error)
	// Transitions returns at most limit changes of public state, the oldest first unless filter says otherwise. A reader that
	// goes on after the last one misses none: a change is held back while one with a lower id may yet be committed.
	// [ErrGone] when the history does not go on after filter.After: it is beyond the newest change, below the oldest one
	// that is kept, or, where it has a fingerprint, that of another change.
	Transitions(ctx context.Context, filter TransitionFilter) (TransitionList, error)
	// IsRegistered tells whether a controller has a row.
	IsRegistered(ctx context.Context, controllerID string) (bool, error)
	// CountOwned returns how many controllers the token subject registered last.
	CountOwned(ctx context.Context, subject string) (int, error)
	// Controller returns one controller or ErrNotRegistered.
	Controller(ctx context.Context, controllerID string) (Controller, error)
	// Controllers returns at most limit controllers with ids after afterID, in the bytewise order of their ids.
	Controllers(ctx context.Context, filter ControllerFilter) ([]Controller, error)
}

// HeartbeatWrite is a validated heartbeat of either kind.
type HeartbeatWrite struct {
	ControllerID        string
	CurrentMeetings     int64
	CurrentParticipants int64
	Reported            HealthStatus
	// Usage is nil for a fast heartbeat, which leaves the stored values as they are.
	Usage       *Usage
	Actor       string
	Incarnation string
}

// Usage is the load of a controller's machine, in percent from 0 to 100.
type Usage struct{ CPUPercent, MemoryPercent float64 }

// RegisterResult is which change of the public state a registration made, nil for none, and what the operator wishes.
type RegisterResult struct {
	Transition *Transition
	Intent     Intent
}

// HeartbeatResult says when a heartbeat was stored, which change of the public state it made, nil for none, and what
// the operator wishes.
type HeartbeatResult struct {
	At         time.Time
	Transition *Transition
	Intent     Intent
}

// OperatorResult is a controller after an operator's decision, and the change of its public state, nil for none.
type OperatorResult struct {
	Controller Controller
	Transition *Transition
	Plan       DrainPlan // a drain's
}

// TransitionFilter selects changes in the store; empty strings select everything.
type TransitionFilter struct {
	ControllerID string
	Region       string
	After        int64
	Fingerprint  string    // that of the change After; empty if unknown
	Before       int64     // 0: all
	Since, Until time.Time // zero: all
	NewestFirst  bool
	Limit        int
}

// TransitionList is what a [TransitionFilter] selects, and up to where: no change that it selects has an id up to
// that of Through, or will have one, but those of the list and, where that has as many as the limit, those behind them.
type TransitionList struct {
	Transitions []Transition
	Through     Cursor
}

// ControllerFilter selects controllers in the store; empty strings select everything.
type ControllerFilter struct {
	Region  string
	Health  HealthStatus
	AfterID string
	Limit   int
}

// RegionReader is the storage that the fleet's metrics need.
type RegionReader interface {
	// Regions adds up the fleet by region, in the order of their names.
	Regions(ctx context.Context) ([]Region, error)
}

// ChangeSource is the storage that watches are fed from. Its methods are bounded and fail as those of [Store] do.
type ChangeSource interface {
	// Changes returns at most limit changes of public state with ids above after, and those of missing that there are,
	// all in the order of their ids. Unlike [Store].Transitions it holds nothing back: lower ids may yet appear.
	Changes(ctx context.Context, after int64, missing []int64, limit int) (ChangePage, error)
	// Controllers returns at most limit controllers with ids after afterID, in the bytewise order of their ids.
	Controllers(ctx context.Context, filter ControllerFilter) ([]Controller, error)
	// ControllersByID returns those of the controllers that there are.
	ControllersByID(ctx context.Context, ids []string) ([]Controller, error)
	// ControllersUpdated returns of the controllers that were written at since or later what may have changed without an
	// announcement.
	ControllersUpdated(ctx context.Context, since time.Time) ([]ControllerUpdate, error)
	// Listen tells heard what is announced, by this or another Global Controller over the same storage, until ctx ends. It
	// connects again by itself. heard must not block.
	Listen(ctx context.Context, heard func(Announcement))
}

// ControllerUpdate is what heartbeats write of a controller, and enough to see whether the rest of it changed.
type ControllerUpdate struct {
	ControllerID                         string
	CurrentMeetings, CurrentParticipants int64
	CPUUsagePercent, MemoryUsagePercent  *float64
	LastHeartbeatAt, UpdatedAt           time.Time
	AsOf                                 time.Time // no later than when the storage showed this

	MaxMeetings, MaxParticipants int64
	Facts                        Facts
	Health                       HealthStatus
	Generation                   int64
	IncarnationConflicts         int64
}

// ChangePage is a page of changes of public state.
type ChangePage struct {
	// AsOf is the storage's clock before the changes were read.
	AsOf time.Time
	// Oldest and Newest are the ends of the history at that time, 0 when it is empty.
	Oldest, Newest int64
	Transitions    []Transition
}

// Announcement says that something was committed: changes of public state, and whatever else it names. One with Polled set
// says only that something may have been.
type Announcement struct {
	// ControllerIDs names controllers that changed in a way that the history does not tell.
	ControllerIDs []string
	// Everything is set when more may have changed than is named.
	Everything bool
	// Reconnected is set, with Everything, when announcements were not received for a while.
	Reconnected bool
	// Polled is set when no commit is known of: it is time to look at the history. Stores without notifications send it at
	// intervals.
	Polled bool
}
