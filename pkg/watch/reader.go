package watch

import (
	"context"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// beatEvery is how often a reader is told that its watch is alive.
	beatEvery = 5 * time.Second
	// lagPause is how far apart snapshots are, at the least, for a reader who is always too slow.
	lagPause = 5 * time.Second
)

// reader is one watch. It holds no events, only positions: whatever it is sent is made when it asks for it.
type reader struct {
	hub    *Hub
	query  service.WatchQuery
	closed bool

	epoch *epoch         // What next and loads count in.
	next  uint64         // the event of the log to go on with
	loads uint64         // the reading of loads up to which it was sent all
	at    service.Cursor // that of the last event
	beat  time.Time
	began time.Time // when the last snapshot did

	turn  *turn
	whole wholeView
	pass  loadsPass
	fill  fill
}

// wholeView is the position of a reader in a view: first the changes, from the event replay on, then the fleet.
type wholeView struct {
	view        *view // nil when all of it was sent
	replay      uint64
	skipThrough int64  // changes up to this id were sent already
	reason      string // of a snapshot; empty: there is none
	part        int
}

// Watch implements [service.WatchHub].
func (h *Hub) Watch(ctx context.Context, q service.WatchQuery) (service.Watch, error) {
	if err := h.join(q.Loads); err != nil {
		return nil, err
	}

	r := &reader{hub: h, query: q, beat: time.Now().Add(beatEvery), turn: newTurn(h.turns)}
	if err := r.start(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *reader) start(ctx context.Context) error {
	after := r.query.After
	v := r.hub.view.Load()
	if v.epoch == nil || after != nil && *after > v.highest {
		if err := r.hub.await(ctx); err != nil {
			return err
		}
		v = r.hub.view.Load()
	}
	switch {
	case v.epoch == nil:
		return stopping() // There was no reader for keptFor, and the fleet was dropped just now.
	case after != nil:
		r.at = service.Cursor{ID: *after, Fingerprint: r.query.Fingerprint}
		r.resume(v)
	default:
		r.begin(v, service.SnapshotStart)
	}
	return nil
}

// begin restarts the reader with a snapshot.
func (r *reader) begin(v *view, reason string) {
	next, id := r.next, r.at.ID
	if r.epoch != v.epoch {
		next = 0
	}
	if reason == service.SnapshotGone {
		id = 0 // It may be that of another history.
	}
	now := time.Now()
	r.began = now
	r.read(r.hub.shared.choose(v, now, next, id))
	r.whole.reason = reason
}

// read sets the position to the begin of a view. The events of the log after the view follow.
func (r *reader) read(v *view) {
	v.readers.Add(1)
	r.epoch, r.next, r.loads, r.pass, r.fill = v.epoch, v.log.end(), v.loads, loadsPass{}, fill{}
	r.whole = wholeView{view: v, replay: v.log.end()}
}

func (r *reader) endRead() {
	r.whole.view.readers.Add(-1)
	r.whole = wholeView{}
}

// Next implements [service.Watch].
func (r *reader) Next(ctx context.Context) (none service.WatchEvent, _ error) {
	for {
		if err := ctx.Err(); err != nil {
			return none, err
		}
		select {
		case <-r.hub.stopped:
			return none, stopping()
		default:
		}

		// The event that was taken before has been sent.
		r.turn.end()
		v := r.hub.view.Load()
		if class, ready := r.class(v, time.Now()); ready && !r.turn.take(ctx, class, v.news) {
			continue
		}
		e, news, until := r.take(time.Now())
		if news == nil {
			return e, nil
		}

		r.turn.end()
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
func (r *reader) class(v *view, now time.Time) (turnClass, bool) {
	switch w := r.whole; {
	case w.view != nil && w.replay < w.view.log.end():
		return replayTurn, true
	case w.view != nil:
		return bulkTurn, true
	case !now.Before(r.beat) || r.epoch != v.epoch || r.next != v.log.end():
		return liveTurn, true
	case r.query.Loads && r.loads < v.loads:
		return replayTurn, true
	default:
		return bulkTurn, r.fill.isActive
	}
}

// take returns the next event, or what to wait for, and until when.
func (r *reader) take(now time.Time) (e service.WatchEvent, news <-chan struct{}, until time.Time) {
	for {
		if r.whole.view != nil {
			if e, ok := r.takeWhole(now); ok {
				return e, nil, until
			}
			continue
		}

		v := r.hub.view.Load()
		switch {
		case !now.Before(r.beat):
			r.beat = now.Add(beatEvery)
			setCursor(&e, r.at)
			e.AsOf = v.asOf
			return e, nil, until
		case v.epoch == nil:
			return e, v.news, r.beat
		case r.epoch != v.epoch:
			r.begin(v, service.SnapshotGone)
		case r.next < v.log.first: // What it should read next is no longer kept.
			if again := r.began.Add(lagPause); now.Before(again) {
				if again.After(r.beat) {
					again = r.beat
				}
				return e, r.hub.stopped, again // Nothing but time brings something new.
			}
			r.hub.cfg.Observer.IncLagged()
			r.begin(v, service.SnapshotLagged)
		case r.next < v.log.end():
			found := v.log.at(r.next)
			r.next++
			if e, ok := r.takeEvent(found); ok {
				return e, nil, until
			}
		case r.query.Loads && r.loads < v.loads:
			// Only now: loads are newer than any change before them, as the fleet is.
			if e := r.takeLoads(v, now); len(e.Loads) > 0 {
				return e, nil, until
			}
		case r.fill.isActive:
			if e := r.takeFill(v, now); len(e.Changes) > 0 {
				return e, nil, until
			}
		default:
			return e, v.news, r.beat
		}
	}
}

// takeEvent returns the part of an event for the reader, and whether it has anything.
func (r *reader) takeEvent(found *event) (service.WatchEvent, bool) {
	if r.fill.isActive {
		return found.withoutID(), true // All regions are sent.
	}
	r.at = found.Cursor()
	return found.in(r.query.Region)
}

// takeWhole returns the next part of the view, and whether the part has anything.
func (r *reader) takeWhole(now time.Time) (service.WatchEvent, bool) {
	w := &r.whole
	if w.replay == w.view.log.end() {
		if w.reason == "" {
			r.endRead()
			return service.WatchEvent{}, false
		}
		key := partKey{view: w.view, region: r.query.Region, reason: w.reason, number: uint64(w.part)} //nolint:gosec // A count is not negative.
		p := r.hub.parts.get(key, now, func() (p part) {
			p.event, p.last = w.view.part(r.query.Region, w.reason, w.part)
			return p
		})
		if w.part++; p.last {
			r.at = w.view.cursor()
			r.endRead()
		}
		return p.event, true
	}

	key := partKey{view: w.view, region: r.query.Region, kind: replayPart, number: w.replay, isIncomplete: r.fill.isActive}
	if w.replay < w.view.log.live {
		key.skipThrough = w.skipThrough
	}
	p := r.hub.parts.get(key, now, func() (p part) {
		p.event, p.next = w.view.replay(r.query.Region, w.replay, key.skipThrough)
		if p.last = p.next == w.view.log.end() && !key.isIncomplete; p.last {
			setCursor(&p.event, w.view.cursor())
		}
		return p
	})
	w.replay, w.skipThrough = p.next, 0
	if p.last {
		r.at = w.view.cursor()
	}
	return p.event, len(p.event.Changes) > 0
}

// Close implements [service.Watch].
func (r *reader) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.turn.leave()
	if r.whole.view != nil {
		r.endRead()
	}
	r.hub.leave(r.query.Loads)
}
