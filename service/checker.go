package service

import (
	"context"
	"time"
)

// Replica is one Global Controller of those that use the same storage, with the settings that others have to take into
// account.
type Replica struct {
	ID                    string
	Version               string
	StalenessThreshold    time.Duration
	FastInterval          time.Duration
	ComprehensiveInterval time.Duration
	// MaxConnections is how many connections to the database it opens at most.
	MaxConnections int
	// StartedAt and SeenAt are when its first and its last beat were committed, by the storage's clock.
	StartedAt time.Time
	SeenAt    time.Time
}

// Beat is what a replica records once a second.
type Beat struct {
	// Replica describes the replica; its times are ignored.
	Replica Replica
	// First is true until a beat of this process has been committed.
	First bool
	// Vouches reports whether the replica accepts the heartbeats that it should accept. A beat that does not vouch proves
	// only that the storage can be written to.
	Vouches bool
	// Tolerance is how far apart two vouching beats may lie before the time between them counts as an outage.
	Tolerance time.Duration
	// Failed are the ids of controllers whose heartbeats reached the replica and could not be stored since its last beat.
	Failed []string
}

// BeatResult is what a committed beat found.
type BeatResult struct {
	// At is when it was committed, by the storage's clock, which was read between the call and its return.
	At time.Time
	// Gap is true when this beat ended a time in which no replica vouched for longer than the tolerance.
	Gap bool
	// Outage is how long that time was; 0 when it was not measured: before the first beat of all, or when the storage's clock
	// was set back.
	Outage time.Duration
}

// Beater is the storage that replicas prove themselves to.
type Beater interface {
	// Beat commits that heartbeats can be committed now, and the replica's row. It takes the locks that a heartbeat takes, but
	// none on a controller's row, and waits for no sweep.
	Beat(ctx context.Context, b Beat) (BeatResult, error)
	// Replicas returns the replicas that were seen within the last day, in the order of their ids.
	Replicas(ctx context.Context) ([]Replica, error)
}

// ConditionError is an error of the storage whose condition has a name that may be public.
type ConditionError struct {
	// Name is one word, such as disk_full, read_only_sql_transaction or undefined_table.
	Name string
	Err  error
}

// Error returns the text of the error, which does not repeat the name.
func (e *ConditionError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *ConditionError) Unwrap() error { return e.Err }

// SweepPolicy has the settings of a sweep of the health checker. The storage has those of other replicas.
type SweepPolicy struct {
	// Threshold is how long a controller may be silent, by the settings of this replica. The longest threshold of the replicas
	// in use counts.
	Threshold time.Duration
	// FastInterval is the interval that this replica gives to controllers. A controller that was given a longer interval than
	// any replica in use has now keeps the threshold that came with it.
	FastInterval time.Duration
	// Interval is how far apart sweeps are, across all replicas.
	Interval time.Duration
	// Tolerance is how old the last beat may be that a sweep relies on.
	Tolerance time.Duration
	// Actor is recorded as the one that marked a controller: the id of this Global Controller.
	Actor string
	// Refusals describes, by controller, the calls that this Global Controller refused within a time until now; it is added to
	// the reason of a mark. nil: nothing is added.
	Refusals func(within time.Duration) map[string]string
}

// SweepResult is what a chunk of a sweep found and did.
type SweepResult struct {
	// Swept is false when no sweep was due, or another replica is sweeping.
	Swept bool
	// Hold is true during an outage of the Global Controller and for one threshold after it: no controller is marked stale.
	Hold bool
	// More is true when more controllers are silent than one chunk marks.
	More bool
	// Transitions are what this chunk recorded, in the order of the ids: one for each controller that went stale, also where
	// its public state stays as it was.
	Transitions []Transition
	// NextIn is how long from now the next sweep is due.
	NextIn time.Duration
}

// Sweeper is the storage that the health checker needs.
type Sweeper interface {
	// Sweep marks the controllers that have been silent for longer than their threshold, if a sweep is due and heartbeats can
	// be committed: the last beat is fresh, and no outage is being waited out. It marks a bounded number in one transaction,
	// which checks the beat again. It skips controllers whose heartbeats a replica recently failed to store.
	Sweep(ctx context.Context, policy SweepPolicy) (SweepResult, error)
}
