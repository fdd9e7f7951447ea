package service

import "time"

// SweepPolicy has the settings of a staleness sweep. The storage has those of other replicas.
type SweepPolicy struct {
	// Threshold is the staleness threshold of this replica. The longest threshold of the replicas in use applies.
	Threshold time.Duration
	// FastInterval is the interval that this replica gives to controllers. A controller that was given a longer interval than any
	// replica now uses keeps the threshold that came with that interval.
	FastInterval time.Duration
	// Interval is the time between sweeps, across all replicas.
	Interval time.Duration
	// Tolerance is the maximum age of the last beat that a sweep relies on.
	Tolerance time.Duration
	// Actor is the id of this Global Controller, recorded with each mark.
	Actor string
	// Refusals returns, by controller, a description of the calls that this Global Controller refused within a time until now. It
	// is added to the reason of a mark. It may be nil.
	Refusals func(within time.Duration) map[string]string
}

// SweepResult is the result of one chunk of a sweep.
type SweepResult struct {
	// Swept is false if no sweep was due, or another replica is sweeping.
	Swept bool
	// Hold is true during an outage of the Global Controller and for one threshold after it: no controller is marked stale.
	Hold bool
	// More is true if more controllers are past their threshold than one chunk marks.
	More bool
	// Transitions has one entry for each controller that was marked stale, in the order of the ids, including controllers whose
	// public state did not change.
	Transitions []Transition
	// NextIn is the time until the next sweep is due.
	NextIn time.Duration
}
