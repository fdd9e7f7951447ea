package service

import (
	"context"
	"time"
)

// This file has every interface of storage that the domain declares. Package store implements all of them.

// Store is the storage that the service needs. Every method is safe for concurrent use and has a time limit.
//
// If the storage is down or too slow, the error wraps [ErrUnavailable]. If the caller's context ended, the error wraps the context's
// own error. [ErrNotRegistered] is returned only if the storage has confirmed that there is no such row.
//
// All times come from the storage's clock. A write that returns no error is committed.
type Store interface {
	// Register inserts or renews a controller in one UPSERT: pending and not stale; the operator's intent, created_at and the
	// current load are kept. The registered incarnation also keeps its reported state. An incarnation that another one has replaced
	// gets [ErrSuperseded], and nothing changes. A registration without an incarnation leaves the stored one in place, because it
	// does not say whether it comes from another process.
	Register(ctx context.Context, r Registration, actor string) (RegisterResult, error)
	// Heartbeat stores a controller's report and clears its staleness. If both the heartbeat and the row name an incarnation and
	// they differ, the result is [ErrSuperseded], and nothing changes.
	Heartbeat(ctx context.Context, h HeartbeatWrite) (HeartbeatResult, error)
	// RecordConflict counts a call of a process whose id another process uses. It returns at once: counts are written together, at
	// most once a second.
	RecordConflict(controllerID string)

	// Drain sets the operator's intent. The result includes the plan. It returns [ErrConflict] if the generation is not the
	// expected one. It returns [UnsafeError] if the region would be short of capacity and the order does not force the drain. Drains
	// in one region are decided one after the other. A dry run changes nothing and never returns [UnsafeError].
	Drain(ctx context.Context, order DrainOrder, actor string) (OperatorResult, error)
	// Undrain clears the operator's intent. [ErrConflict] as for Drain. A controller that is not being drained stays unchanged.
	Undrain(ctx context.Context, order UndrainOrder, actor string) (OperatorResult, error)
	// Deregister removes a controller; its history stays. byItself is true if the controller itself leaves. If an operator is
	// draining it at that time, its row stays, reported as draining with no load. Only the operator may clear the operator's
	// intent. It returns [ErrForbidden] if byItself is true and no incarnation is registered. It returns [ErrSuperseded] if another
	// incarnation than the named one is registered. [ErrConflict] as for Drain.
	Deregister(ctx context.Context, d Deregistration, actor string, byItself bool) (*Transition, error)

	// Controller returns one controller or [ErrNotRegistered].
	Controller(ctx context.Context, controllerID string) (Controller, error)
	// Controllers returns at most filter.Limit controllers with ids after filter.AfterID, in the bytewise order of their ids.
	Controllers(ctx context.Context, filter ControllerFilter) ([]Controller, error)
	// Transitions returns at most filter.Limit transitions, the oldest first by default. A reader that continues after the last one
	// misses none: a transition is held back while one with a lower id may still be committed.
	//
	// It returns [ErrGone] if the history does not continue after filter.After. That is the case if the id is above the newest
	// transition or below the oldest one. It is also the case if the transition has another fingerprint.
	Transitions(ctx context.Context, filter TransitionFilter) (TransitionList, error)
	// Regions returns the totals of each region, in the order of the regions' names.
	Regions(ctx context.Context) ([]Region, error)
	// Replicas returns the replicas that were active recently, in the order of their ids, and the state of the store.
	Replicas(ctx context.Context) (ReplicaList, error)

	// IsRegistered reports whether a controller has a row.
	IsRegistered(ctx context.Context, controllerID string) (bool, error)
	// CountOwned returns the number of controllers whose last registration came from the token subject.
	CountOwned(ctx context.Context, subject string) (int, error)
}

// RegionReader is the storage that the fleet's metrics need.
type RegionReader interface {
	// Regions returns the totals of each region, in the order of the regions' names.
	Regions(ctx context.Context) ([]Region, error)
}

// ChangeSource is the storage that the watch hub reads. Its methods have time limits and return the errors of [Store].
type ChangeSource interface {
	// Changes returns at most limit transitions with ids above after, and the existing ones among the ids in missing, in the order
	// of their ids. Unlike [Store].Transitions it holds nothing back: lower ids may appear later.
	Changes(ctx context.Context, after int64, missing []int64, limit int) (ChangePage, error)
	// Controllers returns at most filter.Limit controllers with ids after filter.AfterID, in the bytewise order of their ids.
	Controllers(ctx context.Context, filter ControllerFilter) ([]Controller, error)
	// ControllersByID returns the existing controllers among ids.
	ControllersByID(ctx context.Context, ids []string) ([]Controller, error)
	// ControllersUpdated returns, for each controller that was written at or after since, the values that may have changed without an
	// announcement.
	ControllersUpdated(ctx context.Context, since time.Time) ([]ControllerUpdate, error)
	// Listen calls onAnnouncement for each announcement of this or another Global Controller over the same storage, until ctx ends. Its
	// first call, with Polled, is when it begins to listen: what was committed before was not announced. It reconnects by itself.
	// onAnnouncement must not block.
	Listen(ctx context.Context, onAnnouncement func(Announcement))
}

// ReplicaStore is the storage that records the liveness of replicas.
type ReplicaStore interface {
	// Beat commits the fact that heartbeats can be committed now, and the replica's row. It takes the locks that a heartbeat takes,
	// but none on a controller's row, and it does not wait for a sweep.
	Beat(ctx context.Context, b Beat) (BeatResult, error)
}

// Sweeper is the storage that the health checker needs.
type Sweeper interface {
	// Sweep marks controllers as stale whose last heartbeat is older than their threshold. It does so only if a sweep is due, the
	// last beat is recent, and no outage, or threshold after one, is in progress. It marks a limited number in one transaction,
	// which checks the beat again. It skips controllers whose heartbeats a replica recently failed to store.
	Sweep(ctx context.Context, policy SweepPolicy) (SweepResult, error)
}

// Pruner is the storage that retention needs.
type Pruner interface {
	// Prune removes rows that are older than the policy keeps, in small batches. Only one replica prunes at a time.
	Prune(ctx context.Context, policy RetentionPolicy) (RetentionResult, error)
}

// HeartbeatWrite is a validated heartbeat of either kind.
type HeartbeatWrite struct {
	ControllerID        string
	CurrentMeetings     int64
	CurrentParticipants int64
	Reported            HealthStatus
	// Usage is nil for a fast heartbeat, which leaves the stored values unchanged.
	Usage       *Usage
	Actor       string
	Incarnation string
}

// Usage is the load of a controller's machine, in percent from 0 to 100.
type Usage struct{ CPUPercent, MemoryPercent float64 }

// RegisterResult is the result of a registration: its transition (nil if the public state did not change) and the operator's intent.
type RegisterResult struct {
	Transition *Transition
	Intent     Intent
}

// HeartbeatResult is the result of a heartbeat: the time of its commit, its transition (nil if the state did not change) and the
// operator's intent.
type HeartbeatResult struct {
	At         time.Time
	Transition *Transition
	Intent     Intent
}

// OperatorResult is a controller after an operator's action, and the transition, nil if the public state did not change.
type OperatorResult struct {
	Controller Controller
	Transition *Transition
	Plan       DrainPlan // Of a drain only.
}

// TransitionFilter selects transitions in the store; empty strings select everything.
type TransitionFilter struct {
	ControllerID string
	Region       string
	After        int64
	Fingerprint  string    // Of the transition After; empty if unknown.
	Before       int64     // 0: no limit.
	Since, Until time.Time // Zero: no limit.
	NewestFirst  bool
	Limit        int
}

// TransitionList is the transitions that a [TransitionFilter] selects. Up to the id of Through the list is complete, now and later: no
// other matching transition has or will have such an id. If the list has as many entries as the limit, that holds up to its last
// entry only.
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

// ControllerUpdate is the values of a controller that heartbeats write, and those that show whether anything else changed.
type ControllerUpdate struct {
	ControllerID                         string
	CurrentMeetings, CurrentParticipants int64
	CPUUsagePercent, MemoryUsagePercent  *float64
	LastHeartbeatAt, UpdatedAt           time.Time
	AsOf                                 time.Time // The storage's clock, no later than the read.

	MaxMeetings, MaxParticipants int64
	Facts                        Facts
	Health                       HealthStatus
	Generation                   int64
	IncarnationConflicts         int64
}

// MaxHistoryWriteTime is longer, by the monotonic clock, than any transaction of the Global Controller that writes the history: the
// statement timeout limits them. A transition whose id is missing for that time never appears.
const MaxHistoryWriteTime = 30 * time.Second

// ChangePage is a page of transitions.
type ChangePage struct {
	// AsOf is the storage's clock before the transitions were read.
	AsOf time.Time
	// Oldest and Newest are the lowest and highest id of the history at that time, 0 if it is empty.
	Oldest, Newest int64
	Transitions    []Transition
}

// Announcement says that something was committed: transitions, and the other changes that it names. Each announcement makes its
// subscribers read the history.
type Announcement struct {
	// ControllerIDs names controllers that changed without a transition.
	ControllerIDs []string
	// Everything is true if more controllers may have changed than are named.
	Everything bool
	// Reconnected is true, with Everything, if announcements were not received for some time.
	Reconnected bool
	// Polled is true if no commit is known. Stores without notifications send such announcements periodically. The hub needs no
	// such mark: an announcement without names wakes it, and it reads the history.
	Polled bool
}

// Merge adds the changes of another announcement. If more than maxIDs controllers would be named, the result names none and
// announces everything.
func (a *Announcement) Merge(other Announcement, maxIDs int) {
	switch {
	case other.Everything || len(a.ControllerIDs)+len(other.ControllerIDs) > maxIDs:
		*a = Announcement{Everything: true}
	case !a.Everything:
		a.ControllerIDs = append(a.ControllerIDs, other.ControllerIDs...)
	}
}
