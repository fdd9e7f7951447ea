package service

import (
	"context"
	"sync"
	"time"
)

// WatchQuery selects the changes of a watch.
type WatchQuery struct {
	Region string // Empty: all regions.
	// After is the id of the last event that was received; nil: begin with a snapshot.
	After *int64
	// Fingerprint is the fingerprint of the transition After, from the event's cursor; empty: After is only a number.
	Fingerprint string
	// Loads selects changes of load as well.
	Loads bool
}

// Watch is one subscription to the fleet. Only one goroutine may use it at a time, and it must be closed.
type Watch interface {
	// Next waits for the next event. The event is shared by all watches and must not be changed. It returns the context's error
	// when the context ends, and [ErrUnavailable] when the watch ends because this server stops.
	Next(ctx context.Context) (WatchEvent, error)
	// Close ends the watch.
	Close()
}

// WatchHub opens watches.
type WatchHub interface {
	Watch(ctx context.Context, q WatchQuery) (Watch, error)
}

// The reasons for a snapshot.
const (
	SnapshotStart  = "start"  // The watch has begun.
	SnapshotLagged = "lagged" // The client read too slowly.
	SnapshotGone   = "gone"   // The events since the client's last id are no longer available.
)

// WatchEvent is one message of a watch. At most one of Snapshot, Changes and Loads is set. If none is set, the event only shows
// that the watch is alive.
type WatchEvent struct {
	// ID is the position to resume from. It is 0 in the parts of a snapshot before its last one, and until a resumed watch has sent the
	// whole fleet. Events are delivered at least once: resuming from ID may repeat events but never skips any.
	ID int64
	// Fingerprint makes the ID a cursor; empty if unknown.
	Fingerprint string
	// AsOf is the store's clock at the read.
	AsOf     time.Time
	Snapshot *WatchSnapshot
	Changes  []WatchChange
	Loads    []WatchLoad

	encodings *encodings // Shared by all copies.
}

// Cursor returns the position to resume from. It is the zero cursor if the event has no ID.
func (e WatchEvent) Cursor() Cursor { return Cursor{ID: e.ID, Fingerprint: e.Fingerprint} }

// encodings has the encoded forms of one event, by the name of the form.
type encodings struct {
	mu    sync.Mutex
	forms map[string][]byte
}

// WithEncodingCache returns the event with a cache of its encodings, which all its copies share.
func (e WatchEvent) WithEncodingCache() WatchEvent {
	e.encodings = &encodings{}
	return e
}

// EncodeAs returns the event in the form that encode produces. A shared event is encoded once in each form, for all watches.
func (e WatchEvent) EncodeAs(form string, encode func(WatchEvent) ([]byte, error)) ([]byte, error) {
	if e.encodings == nil {
		return encode(e)
	}

	e.encodings.mu.Lock()
	defer e.encodings.mu.Unlock()
	if encoded, ok := e.encodings.forms[form]; ok {
		return encoded, nil
	}

	encoded, err := encode(e)
	if err != nil {
		return nil, err
	}
	if e.encodings.forms == nil {
		e.encodings.forms = make(map[string][]byte, 1)
	}
	e.encodings.forms[form] = encoded
	return encoded, nil
}

// WatchSnapshot is a part of the current fleet, in the order of the ids.
type WatchSnapshot struct {
	Begin, End  bool
	Reason      string
	Controllers []*Controller
}

// WatchChange is the current state of a controller, nil if it left the fleet, and its transition, nil if neither its public state
// nor its staleness changed.
type WatchChange struct {
	ControllerID string
	Controller   *Controller
	Transition   *Transition
}

// WatchLoad is the load in the last heartbeat of a controller that is otherwise unchanged.
type WatchLoad struct {
	ControllerID        string
	CurrentMeetings     int64
	CurrentParticipants int64
	CPUUsagePercent     *float64
	MemoryUsagePercent  *float64
	LastHeartbeatAt     time.Time
	Drained             bool
}

// Validate checks the query.
func (q WatchQuery) Validate() error {
	if q.Region != "" {
		if err := validateName("region", q.Region, maxRegionBytes); err != nil {
			return err
		}
	}
	if q.After != nil && *q.After < 0 {
		return errInvalidCursor()
	}
	return nil
}
