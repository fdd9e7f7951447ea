package watch

import (
	"slices"
	"strings"
	"time"

	"darktower.example/global-controller/service"
)

// state is the fleet as last read, and the log of events. Only the goroutine of [Hub.Run] uses it. Watches use the views that it
// publishes.
type state struct {
	epoch         *epoch
	seen          seenIDs
	fingerprints  *fingerprints
	oldestID      int64 // in the history
	asOf          time.Time
	fleet         fleet
	log           eventLog
	loadVersion   uint64
	deadlinesByID map[string]time.Time // of drains whose deadline has not passed
	// pendingTransitions has controllers whose new public state was read before its transition. The next poll reads both.
	pendingTransitions map[string]bool
}

// newState returns the state of a fleet, which must be in the order of its ids. page is the history that was read before it, with the
// transitions after the id completeAfter.
func newState(seen seenIDs, completeAfter int64, page service.ChangePage, controllers []service.Controller) *state {
	st := &state{
		epoch:         &epoch{},
		seen:          seen,
		fingerprints:  newFingerprints(page.Transitions),
		oldestID:      page.Oldest,
		asOf:          page.AsOf,
		deadlinesByID: make(map[string]time.Time),
	}

	all := make([]*service.Controller, len(controllers))
	for i := range controllers {
		all[i] = &controllers[i]
		st.updateDeadline(all[i].ControllerID, all[i])
	}
	st.fleet = newFleet(all)

	st.log.completeAfter = completeAfter
	st.log.appendHistory(page.Transitions)
	st.log.startID = seen.watermark
	st.log.startAsOf = page.AsOf
	return st
}

// checkHistory reports whether a page belongs to the history of the state: the page has the newest transition that was seen, with the
// same fingerprint. It returns the page without that transition, which is read for this check only.
func (st *state) checkHistory(page service.ChangePage) (service.ChangePage, bool) {
	newest := st.fingerprints.cursorAfter(st.seen.highest)
	if newest.Fingerprint == "" {
		return page, page.Newest >= newest.ID
	}

	index := slices.IndexFunc(page.Transitions, func(t service.Transition) bool { return t.ID == newest.ID })
	if index < 0 || page.Transitions[index].Cursor() != newest {
		return service.ChangePage{}, false
	}
	page.Transitions = slices.Concat(page.Transitions[:index], page.Transitions[index+1:])
	return page, true
}

// view returns the view of the present state.
func (st *state) view() *view {
	return &view{
		epoch:        st.epoch,
		asOf:         st.asOf,
		watermark:    st.seen.watermark,
		highestID:    st.seen.highest,
		oldestID:     st.oldestID,
		fingerprints: st.fingerprints,
		fleet:        st.fleet,
		log:          st.log,
		loadVersion:  st.loadVersion,
	}
}

// change is one of an event's changes, and the region of the controller before it.
type change struct {
	service.WatchChange
	previousRegion string // empty if the controller did not exist
}

// hasTransitionUpTo reports whether the change has a transition with an id of at most id.
func (c change) hasTransitionUpTo(id int64) bool { return c.Transition != nil && c.Transition.ID <= id }

// delivery is what one read adds to the state and to the log.
type delivery struct {
	asOf           time.Time
	resumeID       int64 // the id to resume from after all changes
	resumeIDBefore int64 // the id to resume from after a part of the changes
	changes        []change
	editsByID      map[string]edit
	hasNewLoads    bool
}

func (st *state) newDelivery() *delivery {
	return &delivery{
		asOf:           st.asOf,
		resumeID:       st.seen.watermark,
		resumeIDBefore: st.seen.watermark,
		editsByID:      make(map[string]edit),
	}
}

// applyHistory applies a page of the history, and the controllers that were read by id with it.
func (st *state) applyHistory(page service.ChangePage, ids []string, controllersByID map[string]*service.Controller) *delivery {
	st.oldestID = page.Oldest
	d := st.newDelivery()
	d.asOf = page.AsOf

	hasTransitionByID := st.mergeTransitions(d, page.Transitions, controllersByID)
	st.mergeControllers(d, ids, hasTransitionByID, controllersByID)
	st.mergeDeadlines(d)
	return d
}

// mergeTransitions adds the new transitions, and returns the ids of their controllers.
func (st *state) mergeTransitions(
	d *delivery, transitions []service.Transition, controllersByID map[string]*service.Controller,
) (hasTransitionByID map[string]bool) {
	hasTransitionByID = make(map[string]bool, len(transitions))
	for i := range transitions {
		t := &transitions[i]
		if !st.seen.add(*t, time.Now()) {
			continue
		}
		st.fingerprints.add(*t)
		hasTransitionByID[t.ControllerID] = true
		d.changes = append(d.changes, change{
			WatchChange:    service.WatchChange{ControllerID: t.ControllerID, Controller: controllersByID[t.ControllerID], Transition: t},
			previousRegion: st.regionOf(t.ControllerID),
		})
	}

	st.seen.advance(time.Now())
	d.resumeID = st.seen.watermark
	return hasTransitionByID
}

// mergeControllers applies the controllers that were read by id. A new public state without a transition waits for the next poll,
// which reads the transition. If there is none then, the state was changed by hand.
func (st *state) mergeControllers(
	d *delivery, ids []string, hasTransitionByID map[string]bool, controllersByID map[string]*service.Controller,
) {
	pending := make(map[string]bool)
	for _, id := range ids {
		c := controllersByID[id]
		switch {
		case hasTransitionByID[id]:
			st.setController(d, id, c, false)
		case st.hasNewHealth(id, c) && !st.pendingTransitions[id]:
			pending[id] = true
		default:
			st.applyController(d, id, c)
		}
	}
	st.pendingTransitions = pending
}

// mergeDeadlines adds a change for each drain whose deadline has passed.
func (st *state) mergeDeadlines(d *delivery) {
	for id, deadline := range st.deadlinesByID {
		if d.asOf.Before(deadline) {
			continue
		}
		if c := st.find(d, id); c != nil && !c.IsPastDeadline() {
			afterDeadline := *c
			afterDeadline.AsOf = d.asOf
			st.applyController(d, id, &afterDeadline)
		}
	}
}

// hasNewHealth reports whether the public state of a controller differs from the state; nil stands for one that does not exist.
// The history has a transition for such a change, unless it was made by hand.
func (st *state) hasNewHealth(id string, c *service.Controller) bool {
	old := st.fleet.find(id)
	if old == nil || c == nil {
		return old != c
	}
	return old.Health != c.Health
}

// find returns a controller as it is after a delivery.
func (st *state) find(d *delivery, id string) *service.Controller {
	if e, ok := d.editsByID[id]; ok {
		return e.controller
	}
	return st.fleet.find(id)
}

func (st *state) regionOf(id string) string {
	if c := st.fleet.find(id); c != nil {
		return c.Region
	}
	return ""
}

func (st *state) setController(d *delivery, id string, c *service.Controller, hasNewLoad bool) {
	d.editsByID[id] = edit{id: id, controller: c, hasNewLoad: hasNewLoad || d.editsByID[id].hasNewLoad}
	st.updateDeadline(id, c)
}

// updateDeadline records the deadline of a controller's drain, if it has one that has not passed.
func (st *state) updateDeadline(id string, c *service.Controller) {
	if c != nil && c.Drain != nil && !c.Drain.Deadline.IsZero() && !c.IsPastDeadline() {
		st.deadlinesByID[id] = c.Drain.Deadline
	} else {
		delete(st.deadlinesByID, id)
	}
}

// applyController applies a controller without a new transition; nil if it does not exist.
func (st *state) applyController(d *delivery, id string, c *service.Controller) {
	old := st.find(d, id)
	switch {
	case old == nil && c == nil:
	case old == nil || c == nil || !equalExceptLoad(old, c):
		d.changes = append(d.changes, change{
			WatchChange:    service.WatchChange{ControllerID: id, Controller: c},
			previousRegion: st.regionOf(id),
		})
		st.setController(d, id, c, false)
	case !equalLoads(old, c):
		d.hasNewLoads = true
		st.setController(d, id, c, true)
	}
}

// deliver makes a delivery part of the state, and reports whether watches have something to send.
func (st *state) deliver(d *delivery) bool {
	// The time of the state must not be before that of a controller in it.
	for _, c := range d.changes {
		if c.Controller != nil && c.Controller.AsOf.After(d.asOf) {
			d.asOf = c.Controller.AsOf
		}
	}
	st.asOf = d.asOf

	st.appendEvents(d)
	st.applyEdits(d)
	return len(d.changes) > 0 || d.hasNewLoads
}

// appendEvents appends the changes to the log, in events of at most partSize. Only the last event has the id after all changes.
func (st *state) appendEvents(d *delivery) {
	remaining := d.changes
	for len(remaining) > 0 {
		changes := remaining[:min(partSize, len(remaining))]
		remaining = remaining[len(changes):]

		resumeID := d.resumeIDBefore
		if len(remaining) == 0 {
			resumeID = d.resumeID
		}
		e := &event{
			WatchEvent:  service.WatchEvent{AsOf: d.asOf, Changes: make([]service.WatchChange, 0, len(changes))},
			loadVersion: st.loadVersion,
		}
		setCursor(&e.WatchEvent, st.fingerprints.cursorAfter(resumeID))
		for _, c := range changes {
			e.Changes = append(e.Changes, c.WatchChange)
			e.previousRegions = append(e.previousRegions, c.previousRegion)
		}
		st.log.append(e)
	}
}

// applyEdits applies the edits to the fleet. New loads get a new load version.
func (st *state) applyEdits(d *delivery) {
	edits := make([]edit, 0, len(d.editsByID))
	for _, e := range d.editsByID {
		edits = append(edits, e)
	}
	slices.SortFunc(edits, func(a, b edit) int { return strings.Compare(a.id, b.id) })

	if d.hasNewLoads {
		st.loadVersion++
	}
	st.fleet = st.fleet.withEdits(edits, st.loadVersion)
}
