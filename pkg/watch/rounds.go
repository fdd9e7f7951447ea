package watch

import (
	"context"
	"math"
	"slices"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// pageSize is how much is read at once, of the history and of the fleet.
	pageSize = 1000
	// pagesAtOnce bounds how much of the history is read before readers are told.
	pagesAtOnce = 10
	// lookBack is how much of the history is looked at to begin with, for changes that are not committed yet.
	lookBack = 5000
	// updateSlack is how much earlier than the last time rows are looked for: those of transactions that were under way.
	updateSlack = time.Second
	// namedAtMost bounds how many controllers are read by name.
	namedAtMost = 1000
)

// rounds are the readings of the store, one after the other.
type rounds struct {
	hub *Hub
	// since is a time by the store's clock before the last reading of rows.
	since     time.Time
	refreshed time.Time // by our clock
	reread    time.Time // by our clock
	err       error     // how the last one ended
}

// reading is what was read of the store in one round.
type reading struct {
	began time.Time // by our clock, when the history was read
	// rows are controllers, all of them when whole is set. They were read before the history.
	rows  []service.Controller
	whole bool
	// page has everything of the history that was not read before.
	page service.ChangePage
	more bool
	// named were asked for by their ids, after the history was read; byID are those that there are.
	named []string
	byID  map[string]*service.Controller
	// refreshed says that enough was read to see what the passing of time brings.
	refreshed bool
}

// due is when the store is to be looked at though nothing was announced.
func (r *rounds) due(interval time.Duration) time.Time { return r.refreshed.Add(interval) }

// next reads what is new and passes it on.
func (r *rounds) next(ctx context.Context, now time.Time) {
	h := r.hub
	h.mu.Lock()
	waiting, announced, st := h.waiting, h.announced, h.state
	h.waiting, h.announced = nil, service.Announcement{}
	h.mu.Unlock()
	refresh := announced.Everything || !now.Before(r.due(h.interval()))
	whole := r.err != nil || !now.Before(r.reread.Add(rereadEvery))
	var err error
	switch {
	case st == nil:
		r.refreshed, r.reread = now, now
		err = r.load(ctx)
	default:
		if refresh || whole {
			r.refreshed = now
		}
		err = r.advance(ctx, st, announced.ControllerIDs, refresh, whole)
		if err == nil && whole {
			r.reread = now
		}
	}
	if ctx.Err() != nil {
		err = stopping()
	} else {
		h.report(r.err, err)
	}
	r.err = err
	h.answer(waiting, err)
}

// load reads everything, when nothing is known.
func (r *rounds) load(ctx context.Context) error {
	source := r.hub.cfg.Source
	ends, err := source.Changes(ctx, math.MaxInt64, nil, 1)
	if err != nil {
		return err
	}
	seen := cursor{watermark: max(0, ends.Newest-lookBack)}
	seen.highest = seen.watermark
	page, err := source.Changes(ctx, seen.watermark, nil, lookBack)
	if err != nil {
		return err
	}
	for _, t := range page.Transitions {
		seen.add(t)
	}
	seen.settle(page.AsOf)
	fleet, err := r.fleet(ctx)
	if err != nil {
		return err
	}
	st := newState(seen, page.AsOf, fleet)
	r.since = ends.AsOf
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = st
	h.tellNews()
	return nil
}

// advance reads what is new since the last round.
func (r *rounds) advance(ctx context.Context, st *state, named []string, refresh, whole bool) (err error) {
	source, read := r.hub.cfg.Source, reading{named: named, whole: whole, refreshed: refresh || whole}
	since := st.asOf
	switch {
	case whole:
		read.rows, err = r.fleet(ctx)
	case refresh:
		read.rows, err = source.ControllersUpdated(ctx, r.since.Add(-updateSlack))
	}
	if err != nil {
		return err
	}
	read.began = time.Now()
	if read.page, read.more, err = r.history(ctx, st); err != nil {
		return err
	}
	h := r.hub
	if read.page.Newest < st.seen.highest {
		// Another history: everything begins anew.
		h.mu.Lock()
		defer h.mu.Unlock()
		h.state = nil
		h.wakeUp()
		return nil
	}
	for _, t := range read.page.Transitions {
		read.named = append(read.named, t.ControllerID)
	}
	slices.Sort(read.named)
	read.named = slices.Compact(read.named)
	found, err := source.ControllersByID(ctx, read.named)
	if err != nil {
		return err
	}
	read.byID = make(map[string]*service.Controller, len(found))
	for i := range found {
		read.byID[found[i].ControllerID] = &found[i]
	}
	if read.refreshed {
		r.since = since
	}
	if read.more {
		h.wakeUp()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delivered := st.apply(read)
	if st.publish(delivered) {
		h.tellNews()
	}
	for _, c := range delivered.changes {
		if c.Transition != nil {
			// Both times are the store's; what has passed since is ours.
			h.cfg.Observer.Delivered(max(0, read.page.AsOf.Sub(c.Transition.At)) + time.Since(read.began))
		}
	}
	return nil
}

// history reads what is not known of it yet, and tells whether there is more.
func (r *rounds) history(ctx context.Context, st *state) (all service.ChangePage, more bool, _ error) {
	after, missing := st.seen.highest, st.seen.missing()
	for range pagesAtOnce {
		page, err := r.hub.cfg.Source.Changes(ctx, after, missing, pageSize)
		if err != nil {
			return all, false, err
		}
		if all.AsOf.IsZero() {
			all = page
		} else {
			all.Transitions = append(all.Transitions, page.Transitions...)
		}
		last := len(page.Transitions) - 1
		if last < 0 || page.Transitions[last].ID <= after || last+1 < pageSize {
			return all, false, nil
		}
		after, missing = page.Transitions[last].ID, nil
	}
	return all, true, nil
}

// fleet reads all of it.
func (r *rounds) fleet(ctx context.Context) (all []service.Controller, _ error) {
	for after := ""; ; {
		page, err := r.hub.cfg.Source.Controllers(ctx, service.ControllerFilter{AfterID: after, Limit: pageSize})
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < pageSize {
			return all, nil
		}
		after = page[len(page)-1].ControllerID
	}
}
