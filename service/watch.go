package service

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// WatchQuery asks to be told what changes.
type WatchQuery struct {
	Region string // empty: all
	// After is the id of the last event that was received; nil: begin with the whole fleet.
	After *int64
	// Fingerprint is that of the change After, as the event's cursor had it; empty: After is only a number.
	Fingerprint string
	// Loads asks for changes of load as well.
	Loads bool
}

// Watch is one reader's view of the fleet. It is used by one goroutine at a time and has to be closed.
type Watch interface {
	// Next waits for what is new and returns it. What it returns is shared by all readers and must not be changed. It
	// returns the context's error when that ends, and [ErrUnavailable] when the watch is over because this server stops.
	Next(ctx context.Context) (WatchEvent, error)
	// Close gives up the watch.
	Close()
}

// Watcher is who serves watches.
type Watcher interface {
	Watch(ctx context.Context, q WatchQuery) (Watch, error)
}

// The reasons for a snapshot.
const (
	SnapshotStart  = "start"  // The watch has begun.
	SnapshotLagged = "lagged" // The reader was too slow for what changed.
	SnapshotGone   = "gone"   // It is no longer known what has changed since the reader's last id.
)

// WatchEvent is one message of a watch: exactly one of Snapshot, Changes and Loads is set, or none, which says that the
// watch is alive.
type WatchEvent struct {
	// ID is where to go on from, 0 in the midst of a snapshot. What came with this id may come again after that, and
	// never fails to.
	ID int64
	// Fingerprint makes the ID a cursor; empty if unknown.
	Fingerprint string
	// AsOf is when the store showed this, by its own clock.
	AsOf     time.Time
	Snapshot *WatchSnapshot
	Changes  []WatchChange
	Loads    []WatchLoad

	encodings *encodings // Shared by all copies.
}

// Cursor is where to go on from; the zero cursor in the midst of a snapshot.
func (e WatchEvent) Cursor() Cursor { return Cursor{ID: e.ID, Fingerprint: e.Fingerprint} }

// encodings are the forms of one event that transports have made.
type encodings struct {
	mu    sync.Mutex
	forms map[string][]byte
}

// Shared returns the event with room for its encodings, which all its copies share.
func (e WatchEvent) Shared() WatchEvent {
	e.encodings = &encodings{}
	return e
}

// Encoded returns what encode makes of the event. An event that is shared is encoded once in each form, for everybody.
func (e WatchEvent) Encoded(form string, encode func(WatchEvent) ([]byte, error)) ([]byte, error) {
	if e.encodings == nil {
		return encode(e)
	}
	e.encodings.mu.Lock()
	defer e.encodings.mu.Unlock()
	if made, ok := e.encodings.forms[form]; ok {
		return made, nil
	}
	made, err := encode(e)
	if err != nil {
		return nil, err
	}
	if e.encodings.forms == nil {
		e.encodings.forms = make(map[string][]byte, 1)
	}
	e.encodings.forms[form] = made
	return made, nil
}

// WatchSnapshot is a part of the fleet as it is, in the order of the ids.
type WatchSnapshot struct {
	Begin, End  bool
	Reason      string
	Controllers []*Controller
}

// WatchChange is a controller as it is now, nil when it left the fleet, and the change of its public state, nil when
// something else changed.
type WatchChange struct {
	ControllerID string
	Controller   *Controller
	Transition   *Transition
}

// WatchLoad is what the last heartbeat said of a controller that is otherwise as it was.
type WatchLoad struct {
	ControllerID        string
	CurrentMeetings     int64
	CurrentParticipants int64
	CPUUsagePercent     *float64
	MemoryUsagePercent  *float64
	LastHeartbeatAt     time.Time
	Drained             bool
}

// Validate checks the question.
func (q WatchQuery) Validate() error {
	if q.Region != "" {
		if err := validateName("region", q.Region, maxRegionBytes); err != nil {
			return err
		}
	}
	if q.After != nil && *q.After < 0 {
		return errNoCursor()
	}
	return nil
}

func (c *controllers) Watch(ctx context.Context, q WatchQuery) (Watch, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if c.watcher == nil {
		return nil, fmt.Errorf("watch: %w", ErrUnavailable)
	}
	watch, err := c.watcher.Watch(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return watch, nil
}
