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
	// lookBack is how much of the history is read to begin with: what readers resume after, and changes that are not
	// committed yet.
	lookBack = 5000
	// namedAtMost bounds how many controllers are read by name.
	namedAtMost = 1000
)

// rounds are the readings of the store, one after the other. Only what is slow is read beside them.
type rounds struct {
	hub    *Hub
	st     *state    // nil when nothing is known
	read   time.Time // when the last round began, by our clock
	err    error     // how the last one ended
	beside *beside
}

func newRounds(h *Hub) *rounds { return &rounds{hub: h, beside: newBeside(h)} }

// wait waits until nothing is read any more.
func (r *rounds) wait() { r.beside.running.Wait() }

// due is when the store is to be looked at though nothing was announced.
func (r *rounds) due() time.Time {
	due := r.read.Add(r.hub.interval())
	if next := r.beside.due(); r.st != nil && next.Before(due) {
		return next
	}
	return due
}

// next reads what is new and passes it on.
func (r *rounds) next(ctx context.Context, now time.Time) {
	h := r.hub
	waiting, announced := h.takeWaiting(), h.inbox.take()
	r.read = now
	trouble := r.trouble()
	if r.st == nil {
		r.err = r.load(ctx, now)
	} else {
		r.err = r.advance(ctx, announced.ControllerIDs, r.takeBeside(now))
	}

	switch {
	case ctx.Err() != nil:
		r.err = stopping()
	case r.err != nil:
		h.inbox.add(announced) // For the next.
		r.beside.rereadSoon()
		h.report(trouble, r.trouble())
	default:
		h.report(trouble, r.trouble())
		if r.st != nil {
			r.beside.begin(ctx, now, r.st, announced.Everything)
		}
	}
	h.answer(waiting, r.err)
}

// trouble is why the store could not be read lately.
func (r *rounds) trouble() error {
	if r.err != nil {
		return r.err
	}
	return r.beside.err
}

// load reads everything, when nothing is known.
func (r *rounds) load(ctx context.Context, now time.Time) error {
	source := r.hub.cfg.Source
	ends, err := source.Changes(ctx, math.MaxInt64, nil, 1)
	if err != nil {
		return err
	}
	from := max(0, ends.Newest-lookBack)
	seen := cursor{watermark: from, highest: from}
	page, err := source.Changes(ctx, from, nil, lookBack)
	if err != nil {
		return err
	}
	for _, t := range page.Transitions {
		seen.add(t, now.Add(-max(0, page.AsOf.Sub(t.At))))
	}
	seen.settle(now)
	controllers, err := r.readFleet(ctx)
	if err != nil {
		return err
	}

	r.st = newState(seen, from, page, controllers)
	r.beside.start(now, ends.AsOf)
	r.hub.publish(r.st.view(), true)
	return nil
}

// advance reads what is new since the last round, and takes what was read beside it; nil stands for nothing.
func (r *rounds) advance(ctx context.Context, named []string, beside *besideRead) error {
	st, source := r.st, r.hub.cfg.Source
	news := false
	if beside != nil {
		d, unknown := r.beside.compare(st, beside)
		news, named = st.take(d), append(named, unknown...)
	}

	for id := range st.early {
		named = append(named, id)
	}

	began := time.Now()
	page, more, err := r.history(ctx)
	if err != nil {
		r.hub.publish(st.view(), news)
		return err
	}
	if !st.goesOn(&page) {
		// Another history: everything begins anew.
		r.st = nil
		r.hub.publish(&view{asOf: st.asOf}, true)
		r.hub.wakeUp()
		return nil
	}

	for _, t := range page.Transitions {
		named = append(named, t.ControllerID)
	}
	slices.Sort(named)
	named = slices.Compact(named)
	found, err := source.ControllersByID(ctx, named)
	if err != nil {
		r.hub.publish(st.view(), news)
		return err
	}
	byID := make(map[string]*service.Controller, len(found))
	for i := range found {
		byID[found[i].ControllerID] = &found[i]
	}
	r.beside.overtake(named)
	if more {
		r.hub.wakeUp()
	}

	d := st.noteHistory(page, named, byID)
	news = st.take(d) || news
	if len(st.early) > 0 {
		r.hub.wakeUp()
	}
	r.hub.publish(st.view(), news)
	for _, c := range d.changes {
		if c.Transition != nil {
			// Both times are the store's; what has passed since is ours.
			r.hub.cfg.Observer.Delivered(max(0, page.AsOf.Sub(c.Transition.At)) + time.Since(began))
		}
	}
	return nil
}

// takeBeside returns what was read beside the rounds, nil when there is nothing.
func (r *rounds) takeBeside(now time.Time) *besideRead {
	select {
	case read := <-r.beside.done:
		if read = r.beside.end(read, now); read != nil && read.of != r.st.epoch {
			return nil // It is of another history.
		}
		return read
	default:
		return nil
	}
}

// history reads what is not known of it yet, and tells whether there is more.
func (r *rounds) history(ctx context.Context) (all service.ChangePage, more bool, _ error) {
	// The newest that was seen is read again.
	after, missing := max(0, r.st.seen.highest-1), r.st.seen.missing()
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

// readFleet reads all of it.
func (r *rounds) readFleet(ctx context.Context) (all []service.Controller, _ error) {
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
