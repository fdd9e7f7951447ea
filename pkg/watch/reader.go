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

// reader is one watch. It holds no events but the number of its next one.
type reader struct {
	hub    *Hub
	query  service.WatchQuery
	closed bool

	of    *state // What next counts in.
	next  uint64
	id    int64 // that of the last event
	beat  time.Time
	began time.Time // when the last snapshot did

	// replay comes first, then the snapshot, then the log.
	replay   []service.WatchEvent
	snapshot *snapshot // nil when all of it was read
	reason   string
	part     int
}

// Watch implements [service.Watcher].
func (h *Hub) Watch(ctx context.Context, q service.WatchQuery) (service.Watch, error) {
	if err := h.join(q.Loads); err != nil {
		return nil, err
	}
	r := &reader{hub: h, query: q, beat: time.Now().Add(beatEvery)}
	if err := r.start(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *reader) start(ctx context.Context) error {
	h := r.hub
	after := r.query.After
	h.mu.Lock()
	known := h.state != nil && (after == nil || *after <= h.state.seen.highest)
	h.mu.Unlock()
	if !known {
		if err := h.await(ctx); err != nil {
			return err
		}
	}
	if after != nil {
		r.id = *after
		return r.resume(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == nil {
		return stopping() // Nobody was there for a while, and the fleet was let go just now.
	}
	r.begin(h.state, service.SnapshotStart)
	return nil
}

// begin has the reader start over. The hub's lock is held.
func (r *reader) begin(st *state, reason string) {
	now, next, id := time.Now(), r.next, r.id
	if r.of != st {
		next = 0
	}
	if reason == service.SnapshotGone {
		id = 0 // It may be that of another history.
	}
	s := st.snapshotFor(now, next, id)
	r.of, r.next, r.began = st, s.next, now
	r.snapshot, r.reason, r.part = s, reason, 0
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
		e, news, until := r.take(time.Now())
		if news == nil {
			return e, nil
		}
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

// never is waited for where nothing but time brings something new.
var never = make(chan struct{})

// take returns the next event, or what to wait for, and until when.
func (r *reader) take(now time.Time) (e service.WatchEvent, news <-chan struct{}, until time.Time) {
	for {
		switch {
		case len(r.replay) > 0:
			e, r.replay = r.replay[0], r.replay[1:]
			if e.ID != 0 {
				r.id = e.ID
			}
			return e, nil, until
		case r.snapshot != nil:
			var last bool
			e, last = r.snapshot.part(r.query.Region, r.reason, r.part)
			if r.part++; last {
				r.snapshot, r.id = nil, e.ID
			}
			if r.reason == asChanges && len(e.Changes) == 0 {
				continue
			}
			return e, nil, until
		}
		found, news, until := r.look(now)
		switch {
		case news != nil:
			return e, news, until
		case found == nil:
			continue
		case found.Changes == nil && found.Loads == nil: // A beat.
			return found.WatchEvent, nil, until
		}
		r.id = found.ID
		if found.Loads != nil && !r.query.Loads {
			continue
		}
		if e, ok := found.in(r.query.Region); ok {
			return e, nil, until
		}
	}
}

// look looks at the log. It returns an event, or what to wait for, or neither after it has begun a snapshot.
func (r *reader) look(now time.Time) (_ *event, news <-chan struct{}, until time.Time) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	st := h.state
	switch {
	case !now.Before(r.beat):
		r.beat = now.Add(beatEvery)
		e := &event{WatchEvent: service.WatchEvent{ID: r.id}}
		if st != nil {
			e.AsOf = st.asOf
		} else if r.of != nil {
			e.AsOf = r.of.asOf
		}
		return e, nil, until
	case st == nil:
		return nil, h.news, r.beat
	case r.of != st:
		r.begin(st, service.SnapshotGone)
		return nil, nil, until
	case r.next >= st.log.end():
		return nil, h.news, r.beat
	case r.next >= st.log.first:
		r.next++
		return st.log.at(r.next - 1), nil, until
	}
	// What it should read next is no longer kept.
	if again := r.began.Add(lagPause); now.Before(again) {
		if again.After(r.beat) {
			again = r.beat
		}
		return nil, never, again
	}
	h.cfg.Observer.Lagged()
	r.begin(st, service.SnapshotLagged)
	return nil, nil, until
}

// Close implements [service.Watch].
func (r *reader) Close() {
	if !r.closed {
		r.closed = true
		r.hub.leave(r.query.Loads)
	}
}
