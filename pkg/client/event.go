package client

import (
	"fmt"
	"time"
)

// EventKind says what happened.
type EventKind int

const (
	// EventRegistered follows each registration that was accepted, the first one and later ones.
	EventRegistered EventKind = iota + 1
	// EventLost follows the first heartbeat of a run of them that was not acknowledged; Err says why.
	EventLost
	// EventRecovered follows the heartbeat that ends such a run.
	EventRecovered
	// EventDrain tells that an operator wishes the controller to drain, or changed by when or why; Intent has it. It is
	// the application that acts on it: the client goes on to report what Health says.
	EventDrain
	// EventUndrain tells that the operator wishes it no more.
	EventUndrain
	// EventSuperseded tells that another process has registered under the id; Run ends.
	EventSuperseded
	// EventGoodbye is the last event of a shutdown; Err is not nil when nobody heard the goodbye.
	EventStopped
	// EventIntervals tells that the intervals have changed; Intervals has them.
	EventIntervals
	// EventNotRegistered follows the first of a run of registrations that failed; Err says why. The client goes on trying.
	EventNotRegistered
	// EventLeaving tells that a shutdown has begun; it may wait for meetings. EventGoodbye ends it.
	EventStopping
)

var kinds = map[EventKind]string{
	EventRegistered: "registered", EventLost: "lost", EventRecovered: "recovered", EventDrain: "drain",
	EventUndrain: "undrain", EventSuperseded: "superseded", EventStopped: "goodbye", EventIntervals: "intervals",
	EventNotRegistered: "not registered", EventStopping: "leaving",
}

// String implements [fmt.Stringer].
func (k EventKind) String() string {
	if name, ok := kinds[k]; ok {
		return name
	}
	return fmt.Sprintf("EventKind(%d)", int(k))
}

// Event is something that the application may want to know.
type Event struct {
	Kind EventKind
	At   time.Time
	// Err is set for EventNotRegistered, EventLost and EventSuperseded, and for EventGoodbye when it failed.
	Err error
	// Intent is set for EventDrain.
	Intent Intent
	// Intervals is set for EventIntervals.
	Intervals Intervals
}

// Intent is what an operator wishes a controller to do.
type Intent struct {
	// Draining: take no new meetings, and see those that there are to their end.
	Draining bool
	// Deadline is when the drain is to be over; zero: no deadline.
	Deadline time.Time
	Reason   string
}

// Intervals is how often the two heartbeats are sent.
type Intervals struct {
	Fast, Comprehensive time.Duration
}
