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
	// and the current load kept. It returns the change of the public state, nil when there was none.
	Register(ctx context.Context, r Registration, actor string) (*Transition, error)
	// Heartbeat stores what a controller reports and clears its staleness.
	Heartbeat(ctx context.Context, h HeartbeatWrite) (HeartbeatResult, error)
	// Known tells whether a controller has a row.
	Known(ctx context.Context, controllerID string) (bool, error)
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
	Usage *Usage
	Actor string
}

// Usage is the load of a controller's machine, in percent from 0 to 100.
type Usage struct{ CPUPercent, MemoryPercent float64 }

// HeartbeatResult says when a heartbeat was stored and which change of the public state it made, nil for none.
type HeartbeatResult struct {
	At         time.Time
	Transition *Transition
}

// ControllerFilter selects controllers in the store; empty strings select everything.
type ControllerFilter struct {
	Region  string
	Health  HealthStatus
	AfterID string
	Limit   int
}

// SweepPolicy is what one tick of the health checker goes by.
type SweepPolicy struct {
	// Threshold is how long a controller may be silent.
	Threshold time.Duration
	// Interval is how far apart sweeps are, across all replicas.
	Interval time.Duration
	// Tolerance is how far apart two beats may lie before the time between them counts as an outage.
	Tolerance time.Duration
	// Actor is recorded as the one who marked a controller: the id of this Global Controller.
	Actor string
}

// SweepResult is what one tick of the health checker found and did.
type SweepResult struct {
	// Swept is false when it was not yet time, or another replica was at it.
	Swept bool
	// Hold is true while an outage of our own is waited out and nobody is called stale.
	Hold bool
	// Gap is true when this tick found that heartbeats could not be committed for longer than the tolerance.
	Gap bool
	// Transitions are the changes of public state that this sweep made, in the order of the ids.
	Transitions []Transition
	// NextIn is how long from now the next sweep is due.
	NextIn time.Duration
}

// Sweeper is the storage that the health checker needs.
type Sweeper interface {
	// Tick records that heartbeats can be committed now and, when a sweep is due and no outage is being waited out,
	// marks the controllers that have been silent for longer than the threshold. All of it is one transaction.
	Tick(ctx context.Context, policy SweepPolicy) (SweepResult, error)
}

// RegionSummary is one region and state of the fleet, added up.
type RegionSummary struct {
	Region          string
	Health          HealthStatus
	Controllers     int64
	MaxMeetings     int64
	CurrentMeetings int64
}

// Summarizer is the storage that the fleet's metrics need.
type Summarizer interface {
	// Summary adds up the fleet by region and state; combinations without a controller are left out.
	Summary(ctx context.Context) ([]RegionSummary, error)
}
