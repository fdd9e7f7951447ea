package service

import (
	"context"
	"time"
)

// RetentionPolicy says how long what is stored is kept.
type RetentionPolicy struct {
	// History is how long changes of public state are kept; 0: for ever.
	History time.Duration
	// Stale is how long a controller may be silent until it is retired; 0: for ever. One that an operator drains is not
	// retired: the operator's intent may be forgotten by the operator only.
	Stale time.Duration
	// Threshold and Tolerance are the health checker's: during an outage of the Global Controller, and for one threshold after
	// it, no controller is retired.
	Threshold time.Duration
	Tolerance time.Duration
	// Actor is recorded as the one who retired a controller: the id of this Global Controller.
	Actor string
}

// RetentionResult is what one pass took away.
type RetentionResult struct {
	// Ran is false when another replica was at it.
	Ran bool
	// Pruned is how many changes of the history were removed.
	Pruned int64
	// Retired are the changes of public state of the controllers that were removed.
	Retired []Transition
	// More is true when there is more to take away at once.
	More bool
}

// Pruner is the storage that retention needs.
type Pruner interface {
	// Prune removes what is older than the policy keeps, a small batch at a time, in one replica at a time.
	Prune(ctx context.Context, policy RetentionPolicy) (RetentionResult, error)
}
