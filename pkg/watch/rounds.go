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
	maxHistoryPages = 10
	// lookBack is how much of the history is read to begin with: what readers resume after, and changes that are not
	// committed yet.
	initialHistory = 5000
	// namedAtMost bounds how many controllers are read by name.
	maxNamed = 1000
)

// rounds reads the store, one round after the other. Slow reads run in the background.
type poller struct {
	hub            *Hub
	state          *state    // nil before the first load
	localTimeBegan time.Time // when the last round began, by our clock
	lastErr        error     // how the last one ended
	background     *backgroundReader
}

func newPoller(h *Hub) *poller { return &poller{hub: h, background: newBackgroundReader(h)} }

// wait waits for the background read to end.
func (r *poller) waitForBackgroundRead() { r.background.running.Wait() }

// due returns when the next round is due without an announcement.
func (r *poller) nextDue() time.Time {
	due := r.localTimeBegan.Add(r.hub.refreshInterval())
	if next := r.background.nextDue(); r.state != nil && next.Before(due) {
		return next
	}
	return due
}

// next reads what is new and passes it on.
func (r *poller) pollOnce(ctx context.Context, now time.Time) {
	h := r.hub
	waiting, announced := h.takePollWaiters(), h.inbox.take()
	r.localTimeBegan = now
	trouble := r.readError()
	if r.state == nil {
		r.lastErr = r.loadFleet(ctx, now)
	} else {
		r.lastErr = r.advance(ctx, announced.ControllerIDs, r.takeBackgroundRead(now))
	}

	switch {
	case ctx.Err() != nil:
		r.lastErr = stoppingError()
	case r.lastErr != nil:
		h.inbox.add(announced) // For the next.
		r.background.rereadSoon()
		h.logReadError(trouble, r.readError())
	default:
		h.logReadError(trouble, r.readError())
		if r.state != nil {
			r.background.startRead(ctx, now, r.state, announced.Everything)
		}
	}
	h.notifyWaiters(waiting, r.lastErr)
}

// readError returns the error of the last round or background read.
func (r *poller) readError() error {
	if r.lastErr != nil {
		return r.lastErr
	}
	return r.background.err
}

// load reads the fleet and the end of the history, before the first round.
func (r *poller) loadFleet(ctx context.Context, now time.Time) error {
	source := r.hub.cfg.Source
	ends, err := source.Changes(ctx, math.MaxInt64, nil, 1)
	if err != nil {
		return err
	}

	from := max(0, ends.Newest-initialHistory)
	seen := cursor{watermark: from, highest: from}
	page, err := source.Changes(ctx, from, nil, initialHistory)
	if err != nil {
		return err
	}
	for _, t := range page.Transitions {
		seen.add(t, now.Add(-max(0, page.AsOf.Sub(t.At))))
	}
	seen.advance(now)

	controllers, err := r.readFleet(ctx)
	if err != nil {
		return err
	}

	r.state = newState(seen, from, page, controllers)
	r.background.scheduleFrom(now, ends.AsOf)
	r.hub.publish(r.state.view(), true)
	return nil
}

// advance reads what is new since the last round, and takes the result of a background read; nil if there is none.
func (r *poller) advance(ctx context.Context, named []string, read *backgroundRead) error {
	st, source := r.state, r.hub.cfg.Source
	news := false
	if read != nil {
		d, unknown := r.background.applyRead(st, read)
		news, named = st.deliver(d), append(named, unknown...)
	}

	for id := range st.pendingTransitions {
		named = append(named, id)
	}

	began := time.Now()
	page, more, err := r.readHistory(ctx)
	if err != nil {
		r.hub.publish(st.view(), news)
		return err
	}
	if !st.continuesHistory(&page) {
		// It is another history: load everything again.
		r.state = nil
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

	r.background.markReadByName(named)
	if more {
		r.hub.wakeUp()
	}

	d := st.applyHistory(page, named, byID)
	news = st.deliver(d) || news
	if len(st.pendingTransitions) > 0 {
		r.hub.wakeUp()
	}
	r.hub.publish(st.view(), news)
	for _, c := range d.changes {
		if c.Transition != nil {
			// Both times are the store's; what has passed since is ours.
			r.hub.cfg.Observer.ObserveDelivery(max(0, page.AsOf.Sub(c.Transition.At)) + time.Since(began))
		}
	}
	return nil
}

// takeBackgroundRead returns the result of a background read, nil if there is none.
func (r *poller) takeBackgroundRead(now time.Time) *backgroundRead {
	select {
	case read := <-r.background.done:
		if read = r.background.finish(read, now); read != nil && read.epoch != r.state.epoch {
			return nil // It is of another history.
		}
		return read
	default:
		return nil
	}
}

// history reads what is not known of it yet, and tells whether there is more.
func (r *poller) readHistory(ctx context.Context) (all service.ChangePage, more bool, _ error) {
	// The newest that was seen is read again.
	after, missing := max(0, r.state.seen.highest-1), r.state.seen.missing()
	for range maxHistoryPages {
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
func (r *poller) readFleet(ctx context.Context) (all []service.Controller, _ error) {
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
