package service

import "time"

// Beat is the liveness record that a replica writes once a second.
type Beat struct {
	Replica Replica
	// First is true until a beat of this process has been committed.
	First bool
	// Vouches reports whether the replica vouches for the service: it accepts all heartbeats that it should accept. Otherwise the
	// beat proves only that the storage can be written to.
	Vouches bool
	// Tolerance is the longest time between two vouching beats that does not count as an outage.
	Tolerance time.Duration
	// Failed lists the controllers whose heartbeats reached the replica since its last beat and could not be stored.
	Failed []string
}

// BeatResult is the result of a committed beat.
type BeatResult struct {
	// At is the storage's clock, read in the transaction of the beat, before its commit.
	At time.Time
	// Gap is true if this beat ended a time in which no replica vouched for longer than the tolerance.
	Gap bool
	// Outage is the length of that time. It is 0 if it could not be measured: before the first beat of all, or if the storage's
	// clock was set back.
	Outage time.Duration
}
