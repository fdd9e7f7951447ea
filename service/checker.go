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
