package client

import (
	"fmt"
	"time"
)

// EventKind is the kind of an event.
type EventKind int

const (
	// EventRegistered follows each accepted registration, the first one and later ones.
	EventRegistered EventKind = iota + 1
	// EventLost follows a heartbeat that was not acknowledged, the first one of a row; Err is the cause. The client continues
	// to try.
	EventLost
	// EventRecovered follows the first heartbeat that is acknowledged after EventLost.
	EventRecovered
	// EventDrain reports that an operator drains the controller, or changed the deadline or the reason; Intent has them. The
	// application must act on it: the client continues to report what Health returns.
	EventDrain
	// EventUndrain reports that the operator has ended the drain.
	EventUndrain
	// EventSuperseded reports that another process has registered under the controller's id. Run returns [ErrSuperseded].
	EventSuperseded
	// EventStopped is the last event of a shutdown; Err is set if the final calls failed.
	EventStopped
	// EventIntervals reports that the heartbeat intervals have changed; Intervals has them.
	EventIntervals
	// EventNotRegistered follows a failed registration, the first one of a row; Err is the cause. The client continues to try.
	EventNotRegistered
	// EventStopping reports that a shutdown has begun, which may wait for meetings. EventStopped ends it.
	EventStopping
)

var eventNames = map[EventKind]string{
	EventRegistered:    "registered",
	EventLost:          "lost",
	EventRecovered:     "recovered",
	EventDrain:         "drain",
	EventUndrain:       "undrain",
	EventSuperseded:    "superseded",
	EventStopped:       "stopped",
	EventIntervals:     "intervals",
	EventNotRegistered: "not registered",
	EventStopping:      "stopping",
}

// String implements [fmt.Stringer].
func (k EventKind) String() string {
	if name, ok := eventNames[k]; ok {
		return name
	}
	return fmt.Sprintf("EventKind(%d)", int(k))
}

// Event is a change in the state of the client.
type Event struct {
	Kind EventKind
	At   time.Time
	// Err is set for EventNotRegistered, EventLost and EventSuperseded, and for EventStopped if the final calls failed.
	Err error
	// Intent is set for EventDrain.
	Intent Intent
	// Intervals is set for EventIntervals.
	Intervals Intervals
}

// Intent is what an operator requests of a controller.
type Intent struct {
	// Draining requests that the controller accepts no new meetings and lets the current ones end.
	Draining bool
	// Deadline is when the drain should be complete; zero: no deadline.
	Deadline time.Time
	Reason   string
}

// Intervals are the times between two heartbeats of each kind.
type Intervals struct {
	Fast, Comprehensive time.Duration
}
