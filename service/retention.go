package service

import "time"

// RetentionPolicy sets how long stored rows are kept.
type RetentionPolicy struct {
	// History is how long transitions are kept; 0: for ever.
	History time.Duration
	// Stale is how long a controller may be without a heartbeat until it is retired; 0: for ever. A controller that an operator is
	// draining is not retired: only the operator may clear the operator's intent.
	Stale time.Duration
	// Threshold and Tolerance are those of the health checker. During an outage of the Global Controller, and for one threshold after
	// it, no controller is retired.
	Threshold time.Duration
	Tolerance time.Duration
	// Actor is the id of this Global Controller, recorded with each retired controller.
	Actor string
}

// RetentionResult is the result of one pruning pass.
type RetentionResult struct {
	// Ran is false if another replica was pruning.
	Ran bool
	// Pruned is the number of transitions that were removed.
	Pruned int64
	// Retired has the transitions of the controllers that were removed.
	Retired []Transition
	// More is true if more rows can be removed at once.
	More bool
}
