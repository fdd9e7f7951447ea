package watch

import (
	"context"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// beatEvery is how often a reader is told that its watch is alive.
	beatInterval = 5 * time.Second
	// lagPause is how far apart snapshots are, at the least, for a reader who is always too slow.
	lagSnapshotInterval = 5 * time.Second
)

// reader is one watch. It holds no events, only positions: whatever it is sent is made when it asks for it.
type watch struct {
	hub      *Hub
	query    service.WatchQuery
	isClosed bool

	epoch           *epoch         // What next and loads count in.
	nextEvent       uint64         // the event of the log to go on with
	loadVersion     uint64         // the reading of loads up to which it was sent all
	cursor          service.Cursor // that of the last event
	beatDue         time.Time
	snapshotBeganAt time.Time // when the last snapshot did

	turn      *turn
	position  viewPosition
	loadsPass loadsPass
	fleetPass fleetPass
}

// wholeView is the position of a reader in a view: first the changes, from the event replay on, then the fleet.
type viewPosition struct {
	view        *view // nil when all of it was sent
	nextEvent   uint64
	skipThrough int64  // changes up to this id were sent already
	reason      string // of a snapshot; empty: there is none
	nextPart    int
}

// Watch implements [service.WatchHub].
func (h *Hub) Watch(ctx context.Context, q service.WatchQuery) (service.Watch, error) {
	if err := h.addWatch(q.Loads); err != nil {
		return nil, err
	}

	r := &watch{hub: h, query: q, beatDue: time.Now().Add(beatInterval), turn: newTurn(h.turns)}
	if err := r.start(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *watch) start(ctx context.Context) error {
	after := r.query.After
	v := r.hub.view.Load()
	if v.epoch == nil || after != nil && *after > v.highestID {
		if err := r.hub.waitForPoll(ctx); err != nil {
			return err
		}
		v = r.hub.view.Load()
	}
	switch {
	case v.epoch == nil:
		return stoppingError() // There was no reader for keptFor, and the fleet was dropped just now.
	case after != nil:
		r.cursor = service.Cursor{ID: *after, Fingerprint: r.query.Fingerprint}
		r.resume(v)
	default:
		r.beginSnapshot(v, service.SnapshotStart)
	}
	return nil
}

// begin restarts the reader with a snapshot.
func (r *watch) beginSnapshot(v *view, reason string) {
	next, id := r.nextEvent, r.cursor.ID
	if r.epoch != v.epoch {
		next = 0
	}
	if reason == service.SnapshotGone {
		id = 0 // It may be that of another history.
	}
	now := time.Now()
	r.snapshotBeganAt = now
	r.setView(r.hub.shared.chooseView(v, now, next, id))
	r.position.reason = reason
}

// read sets the position to the begin of a view. The events of the log after the view follow.
func (r *watch) setView(v *view) {
	v.activeWatches.Add(1)
	r.epoch, r.nextEvent, r.loadVersion, r.loadsPass, r.fleetPass = v.epoch, v.log.end(), v.loadVersion, loadsPass{}, fleetPass{}
	r.position = viewPosition{view: v, nextEvent: v.log.end()}
}

func (r *watch) releaseView() {
	r.position.view.activeWatches.Add(-1)
	r.position = viewPosition{}
}

// Next implements [service.Watch].
func (r *watch) Next(ctx context.Context) (none service.WatchEvent, _ error) {
	for {
		if err := ctx.Err(); err != nil {
			return none, err
		}
		select {
		case <-r.hub.stopped:
			return none, stoppingError()
		default:
		}

		// The event that was taken before has been sent.
		r.turn.release()
		v := r.hub.view.Load()
		if class, ready := r.turnClass(v, time.Now()); ready && !r.turn.acquire(ctx, class, v.updated) {
			continue
		}
		e, news, until := r.take(time.Now())
		if news == nil {
			return e, nil
		}

		r.turn.release()
		timer := time.NewTimer(time.Until(until))
		select {
		case <-ctx.Done():
		case <-r.hub.stopped:
		case <-news:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// class returns the class of the next event, and whether there is one.
func (r *watch) turnClass(v *view, now time.Time) (turnClass, bool) {
	switch w := r.position; {
	case w.view != nil && w.nextEvent < w.view.log.end():
		return replayTurn, true
	case w.view != nil:
		return bulkTurn, true
	case !now.Before(r.beatDue) || r.epoch != v.epoch || r.nextEvent != v.log.end():
		return liveTurn, true
	case r.query.Loads && r.loadVersion < v.loadVersion:
		return replayTurn, true
	default:
		return bulkTurn, r.fleetPass.isActive
	}
}

// take returns the next event, or what to wait for, and until when.
func (r *watch) take(now time.Time) (e service.WatchEvent, news <-chan struct{}, until time.Time) {
	for {
		if r.position.view != nil {
			if e, ok := r.takeFromView(now); ok {
				return e, nil, until
			}
			continue
		}

		v := r.hub.view.Load()
		switch {
		case !now.Before(r.beatDue):
			r.beatDue = now.Add(beatInterval)
			setCursor(&e, r.cursor)
			e.AsOf = v.asOf
			return e, nil, until
		case v.epoch == nil:
			return e, v.updated, r.beatDue
		case r.epoch != v.epoch:
			r.beginSnapshot(v, service.SnapshotGone)
		case r.nextEvent < v.log.first: // What it should read next is no longer kept.
			if again := r.snapshotBeganAt.Add(lagSnapshotInterval); now.Before(again) {
				if again.After(r.beatDue) {
					again = r.beatDue
				}
				return e, r.hub.stopped, again // Nothing but time brings something new.
			}
			r.hub.cfg.Observer.IncLagged()
			r.beginSnapshot(v, service.SnapshotLagged)
		case r.nextEvent < v.log.end():
			found := v.log.at(r.nextEvent)
			r.nextEvent++
			if e, ok := r.filterEvent(found); ok {
				return e, nil, until
			}
		case r.query.Loads && r.loadVersion < v.loadVersion:
			// Only now: loads are newer than any change before them, as the fleet is.
			if e := r.takeLoads(v, now); len(e.Loads) > 0 {
				return e, nil, until
			}
		case r.fleetPass.isActive:
			if e := r.takeFleetPart(v, now); len(e.Changes) > 0 {
				return e, nil, until
			}
		default:
			return e, v.updated, r.beatDue
		}
	}
}

// takeEvent returns the part of an event for the reader, and whether it has anything.
func (r *watch) filterEvent(found *event) (service.WatchEvent, bool) {
	if r.fleetPass.isActive {
		return found.withoutID(), true // All regions are sent.
	}
	r.cursor = found.Cursor()
	return found.forRegion(r.query.Region)
}

// takeWhole returns the next part of the view, and whether the part has anything.
func (r *watch) takeFromView(now time.Time) (service.WatchEvent, bool) {
	w := &r.position
	if w.nextEvent == w.view.log.end() {
		if w.reason == "" {
			r.releaseView()
			return service.WatchEvent{}, false
		}
		key := partKey{view: w.view, region: r.query.Region, reason: w.reason, number: uint64(w.nextPart)} //nolint:gosec // A count is not negative.
		p := r.hub.parts.get(key, now, func() (p part) {
			p.event, p.last = w.view.snapshotPart(r.query.Region, w.reason, w.nextPart)
			return p
		})
		if w.nextPart++; p.last {
			r.cursor = w.view.cursor()
			r.releaseView()
		}
		return p.event, true
	}

	key := partKey{view: w.view, region: r.query.Region, kind: replayPart, number: w.nextEvent, isIncomplete: r.fleetPass.isActive}
	if w.nextEvent < w.view.log.firstLive {
		key.skipThrough = w.skipThrough
	}
	p := r.hub.parts.get(key, now, func() (p part) {
		p.event, p.next = w.view.replay(r.query.Region, w.nextEvent, key.skipThrough)
		if p.last = p.next == w.view.log.end() && !key.isIncomplete; p.last {
			setCursor(&p.event, w.view.cursor())
		}
		return p
	})
	w.nextEvent, w.skipThrough = p.next, 0
	if p.last {
		r.cursor = w.view.cursor()
	}
	return p.event, len(p.event.Changes) > 0
}

// Close implements [service.Watch].
func (r *watch) Close() {
	if r.isClosed {
		return
	}
	r.isClosed = true
	r.turn.cancel()
	if r.position.view != nil {
		r.releaseView()
	}
	r.hub.removeWatch(r.query.Loads)
}
