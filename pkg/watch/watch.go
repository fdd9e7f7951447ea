package watch

import (
	"context"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// keepAliveInterval is the time between two keep-alives, which are events without changes. They show that the watch works.
	keepAliveInterval = 5 * time.Second
	// lagSnapshotInterval is the minimum time between two snapshots of a watch that is always too slow.
	lagSnapshotInterval = 5 * time.Second
)

// watch is one subscription. It holds no events, only positions: each event is made when it is sent.
type watch struct {
	hub      *Hub
	query    service.WatchQuery
	isClosed bool

	epoch        *epoch         // in which nextEvent and loadVersion are valid
	nextEvent    uint64         // the number of the next event of the log
	loadVersion  uint64         // All loads up to this version were sent.
	cursor       service.Cursor // of the last event
	keepAliveDue time.Time

	turn            *turn
	position        viewPosition
	snapshotBeganAt time.Time
	loadsPass       loadsPass
	fleetPass       fleetPass
}

// viewPosition is the position of a watch in a view that it sends completely: first the changes, then the fleet.
type viewPosition struct {
	view           *view  // nil after the last part
	nextEvent      uint64 // the number of the next event with changes
	skipThrough    int64  // Transitions up to this id were sent already.
	snapshotReason string // empty: only the changes are sent
	nextPart       int    // of the snapshot
}

// Watch implements [service.WatchHub].
func (h *Hub) Watch(ctx context.Context, q service.WatchQuery) (service.Watch, error) {
	if err := h.addWatch(q.Loads); err != nil {
		return nil, err
	}

	w := &watch{hub: h, query: q, keepAliveDue: time.Now().Add(keepAliveInterval), turn: newTurn(h.turns)}
	if err := w.start(ctx); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *watch) start(ctx context.Context) error {
	after := w.query.After
	v := w.hub.view.Load()
	if v.epoch == nil || after != nil && *after > v.highestID {
		if err := w.hub.waitForPoll(ctx); err != nil {
			return err
		}
		v = w.hub.view.Load()
	}

	switch {
	case v.epoch == nil:
		return rereadError() // The hub has dropped the fleet since the poll.
	case after != nil:
		w.cursor = service.Cursor{ID: *after, Fingerprint: w.query.Fingerprint}
		w.resume(v)
	default:
		w.beginSnapshot(v, service.SnapshotStart)
	}
	return nil
}

// beginSnapshot restarts the watch with a snapshot.
func (w *watch) beginSnapshot(v *view, reason string) {
	nextEvent, id := w.nextEvent, w.cursor.ID
	if w.epoch != v.epoch {
		nextEvent = 0
	}
	if reason == service.SnapshotGone {
		id = 0 // The id may belong to another history.
	}

	now := time.Now()
	w.snapshotBeganAt = now
	w.setView(w.hub.shared.chooseView(v, now, nextEvent, id))
	w.position.snapshotReason = reason
}

// setView sets the position to the beginning of a view, which the events of the log after it follow.
func (w *watch) setView(v *view) {
	v.activeWatches.Add(1)
	w.epoch = v.epoch
	w.nextEvent = v.log.end()
	w.loadVersion = v.loadVersion
	w.loadsPass = loadsPass{}
	w.fleetPass = fleetPass{}
	w.position = viewPosition{view: v, nextEvent: v.log.end()}
}

func (w *watch) releaseView() {
	w.position.view.activeWatches.Add(-1)
	w.position = viewPosition{}
}

// Next implements [service.Watch].
func (w *watch) Next(ctx context.Context) (service.WatchEvent, error) {
	for {
		if err := ctx.Err(); err != nil {
			return service.WatchEvent{}, err
		}
		select {
		case <-w.hub.stopped:
			return service.WatchEvent{}, stoppingError()
		default:
		}

		w.turn.release() // The event of the turn was sent.
		v := w.hub.view.Load()
		if class, isReady := w.turnClass(v, time.Now()); isReady && !w.turn.acquire(ctx, class, v.updated) {
			continue
		}

		s := w.nextStep(time.Now())
		if s.kind == sendEvent {
			return s.event, nil
		}
		w.turn.release()
		w.waitFor(ctx, s)
	}
}

// waitFor waits for an update, or for the end of the step's time, the context or the hub.
func (w *watch) waitFor(ctx context.Context, s step) {
	timer := time.NewTimer(time.Until(s.until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.hub.stopped:
	case <-s.updated:
	case <-timer.C:
	}
}

// turnClass returns the class of the turn for the next event, and reports whether there is an event.
func (w *watch) turnClass(v *view, now time.Time) (turnClass, bool) {
	switch p := w.position; {
	case p.view != nil && p.nextEvent < p.view.log.end():
		return replayTurn, true
	case p.view != nil:
		return bulkTurn, true
	case !now.Before(w.keepAliveDue) || w.epoch != v.epoch || w.nextEvent != v.log.end():
		return liveTurn, true
	case w.query.Loads && w.loadVersion < v.loadVersion:
		return replayTurn, true
	default:
		return bulkTurn, w.fleetPass.isActive
	}
}

// Close implements [service.Watch].
func (w *watch) Close() {
	if w.isClosed {
		return
	}
	w.isClosed = true
	w.turn.cancel()
	if w.position.view != nil {
		w.releaseView()
	}
	w.hub.removeWatch(w.query.Loads)
}
