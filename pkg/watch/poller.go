package watch

import (
	"context"
	"math"
	"slices"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// pageSize is the number of rows in one read of the history or of the fleet.
	pageSize = 1000
	// maxHistoryPages limits the pages of the history in one poll, so that a view is published before the next one.
	maxHistoryPages = 10
	// initialHistory is the number of transitions in the first read of the history. Watches resume from them, and transitions with ids
	// among them may not be committed yet.
	initialHistory = 5000
	// maxReadByID limits the announced controllers that a poll reads by id, and those of a read of updated rows.
	maxReadByID = 1000
)

// poller polls the store: each poll reads the new changes and publishes a view with them. Slow reads run in the background.
type poller struct {
	hub            *Hub
	state          *state    // nil before the first read of the fleet
	localTimeBegan time.Time // when the last poll began
	lastErr        error     // of the last poll
	background     *backgroundReader
}

func newPoller(h *Hub) *poller { return &poller{hub: h, background: newBackgroundReader(h)} }

func (p *poller) waitForBackgroundRead() { p.background.running.Wait() }

// nextPollDue returns the local time of the next poll if no change is announced.
func (p *poller) nextPollDue() time.Time {
	due := p.localTimeBegan.Add(p.hub.refreshInterval())
	if readDue := p.background.nextReadDue(); p.state != nil && readDue.Before(due) {
		return readDue
	}
	return due
}

// pollOnce reads what is new and publishes it.
func (p *poller) pollOnce(ctx context.Context, localNow time.Time) {
	h := p.hub
	waiters, announced := h.takePollWaiters(), h.inbox.take()
	errBefore := p.readError()

	p.localTimeBegan = localNow
	if p.state == nil {
		p.lastErr = p.loadFleet(ctx, localNow)
	} else {
		// Clip, because readChanges appends to the slice, and after an error the announced ids return to the inbox.
		p.lastErr = p.pollChanges(ctx, slices.Clip(announced.ControllerIDs), p.takeBackgroundRead(localNow))
	}

	switch {
	case ctx.Err() != nil:
		p.lastErr = stoppingError()
	case p.lastErr != nil:
		h.inbox.add(announced) // for the next poll
		p.background.requestReread()
		h.logReadError(errBefore, p.readError())
	default:
		h.logReadError(errBefore, p.readError())
		if p.state != nil {
			p.background.startRead(ctx, localNow, p.state, announced.Everything)
		}
	}
	notifyWaiters(waiters, p.lastErr)
}

// readError returns the error of the last poll or background read.
func (p *poller) readError() error {
	if p.lastErr != nil {
		return p.lastErr
	}
	return p.background.err
}

// loadFleet reads the whole fleet and the end of the history, before the first poll for changes.
func (p *poller) loadFleet(ctx context.Context, localNow time.Time) error {
	source := p.hub.cfg.Source
	ends, err := source.Changes(ctx, math.MaxInt64, nil, 1)
	if err != nil {
		return err
	}

	from := max(0, ends.Newest-initialHistory)
	seen := seenIDs{watermark: from, highest: from}
	page, err := source.Changes(ctx, from, nil, initialHistory)
	if err != nil {
		return err
	}
	for _, t := range page.Transitions {
		seen.add(t, localNow.Add(-max(0, page.AsOf.Sub(t.At))))
	}
	seen.advance(localNow)

	controllers, err := p.readFleet(ctx)
	if err != nil {
		return err
	}

	p.state = newState(seen, from, page, controllers)
	p.background.scheduleFirstReads(localNow, ends.AsOf)
	p.hub.publish(p.state.view(), true)
	return nil
}

// pollChanges reads and publishes what is new since the last poll. It also publishes the result of a background read; nil if there
// is none.
func (p *poller) pollChanges(ctx context.Context, ids []string, background *backgroundRead) error {
	hasUpdate := false
	if background != nil {
		d, unclear := p.background.applyRead(p.state, background)
		hasUpdate = p.state.deliver(d)
		ids = append(ids, unclear...)
	}

	localTimeBegan := time.Now()
	read, err := p.readChanges(ctx, ids)
	switch {
	case err != nil:
		p.hub.publish(p.state.view(), hasUpdate)
		return err
	case read.isOtherHistory:
		p.dropState()
	default:
		p.applyChanges(read, hasUpdate, localTimeBegan)
	}
	return nil
}

// changesRead is what one poll has read.
type changesRead struct {
	page            service.ChangePage
	ids             []string // of the controllers that were read by id, in order
	controllersByID map[string]*service.Controller
	hasMore         bool // The history has more transitions than one poll reads.
	isOtherHistory  bool // The store was replaced, for example by a backup. Nothing else is set.
}

// readChanges reads the new transitions, and the controllers of these transitions and of ids.
func (p *poller) readChanges(ctx context.Context, ids []string) (changesRead, error) {
	page, hasMore, err := p.readHistory(ctx)
	if err != nil {
		return changesRead{}, err
	}
	page, isSameHistory := p.state.checkHistory(page)
	if !isSameHistory {
		return changesRead{isOtherHistory: true}, nil
	}

	for id := range p.state.pendingTransitions {
		ids = append(ids, id)
	}
	for _, t := range page.Transitions {
		ids = append(ids, t.ControllerID)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)

	controllers, err := p.hub.cfg.Source.ControllersByID(ctx, ids)
	if err != nil {
		return changesRead{}, err
	}
	controllersByID := make(map[string]*service.Controller, len(controllers))
	for i := range controllers {
		controllersByID[controllers[i].ControllerID] = &controllers[i]
	}
	return changesRead{page: page, ids: ids, controllersByID: controllersByID, hasMore: hasMore}, nil
}

// applyChanges applies what a poll has read, and publishes the view.
func (p *poller) applyChanges(read changesRead, hasUpdate bool, localTimeBegan time.Time) {
	p.background.markReadByID(read.ids)
	d := p.state.applyHistory(read.page, read.ids, read.controllersByID)
	if p.state.deliver(d) {
		hasUpdate = true
	}
	p.hub.publish(p.state.view(), hasUpdate)

	if read.hasMore || len(p.state.pendingTransitions) > 0 {
		p.hub.wakeUp()
	}
	for _, c := range d.changes {
		if c.Transition != nil {
			// The delay is a difference of two store times and one of two local times, so it needs no equal clocks.
			p.hub.cfg.Observer.ObserveDelivery(max(0, read.page.AsOf.Sub(c.Transition.At)) + time.Since(localTimeBegan))
		}
	}
}

// dropState makes the next poll read the whole fleet, and ends the positions of all watches.
func (p *poller) dropState() {
	p.hub.publish(&view{asOf: p.state.asOf}, true)
	p.state = nil
	p.hub.wakeUp()
}

// takeBackgroundRead returns the result of a background read, nil if there is none.
func (p *poller) takeBackgroundRead(localNow time.Time) *backgroundRead {
	select {
	case read := <-p.background.done:
		if read = p.background.finishRead(read, localNow); read != nil && read.epoch != p.state.epoch {
			return nil // It belongs to another history.
		}
		return read
	default:
		return nil
	}
}

// readHistory reads the transitions that were not seen yet, and the newest one that was seen. It reports whether there are more.
func (p *poller) readHistory(ctx context.Context) (all service.ChangePage, hasMore bool, _ error) {
	// The newest transition that was seen is read again, to check that the history is still the same.
	after, missing := max(0, p.state.seen.highest-1), p.state.seen.missing()
	for range maxHistoryPages {
		page, err := p.hub.cfg.Source.Changes(ctx, after, missing, pageSize)
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

// readFleet reads all controllers.
func (p *poller) readFleet(ctx context.Context) (all []service.Controller, _ error) {
	for after := ""; ; {
		page, err := p.hub.cfg.Source.Controllers(ctx, service.ControllerFilter{AfterID: after, Limit: pageSize})
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
