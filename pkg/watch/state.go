package watch

import (
	"slices"
	"strings"
	"time"

	"darktower.example/global-controller/service"
)

// state is the fleet as last read, and the log of what readers are sent. Only the goroutine of [Hub.Run] uses it; readers use
// the views that it publishes.
type state struct {
	epoch        *epoch
	seen         cursor
	fingerprints *fingerprints
	oldestID     int64
	asOf         time.Time
	fleet        fleet
	log          eventLog
	loadVersion  uint64
	deadlines    map[string]time.Time // of drains that are not over
	// pendingTransitions has controllers whose new public state was read before its transition. The next round reads both.
	pendingTransitions map[string]bool
}

// newState begins with a fleet, which is in the order of its ids, and the history that was read before it, from the change
// after the id from on.
func newState(seen cursor, from int64, page service.ChangePage, controllers []service.Controller) *state {
	st := &state{
		epoch:        &epoch{},
		seen:         seen,
		fingerprints: newFingerprints(page.Transitions),
		oldestID:     page.Oldest,
		asOf:         page.AsOf,
		deadlines:    make(map[string]time.Time),
	}
	all := make([]*service.Controller, len(controllers))
	for i := range controllers {
		all[i] = &controllers[i]
		st.updateDeadline(all[i].ControllerID, all[i])
	}
	st.fleet = newFleet(all)

	st.log.completeAfter = from
	st.log.appendHistory(page.Transitions)
	st.log.startID, st.log.startAsOf = seen.watermark, page.AsOf
	return st
}

// view returns the view of the present state.
func (st *state) view() *view {
	return &view{
		epoch: st.epoch, asOf: st.asOf, watermark: st.seen.watermark, fingerprints: st.fingerprints, highestID: st.seen.highest, oldestID: st.oldestID,
		fleet: st.fleet, log: st.log, loadVersion: st.loadVersion,
	}
}

// change is one of an event's changes, and the region that the controller was in before; empty when it was not there.
type change struct {
	service.WatchChange
	previousRegion string
}

// delivery is what one reading adds for the readers.
type delivery struct {
	asOf           time.Time
	resumeID       int64 // What to go on from when all of it was received.
	resumeIDBefore int64 // What to go on from when not all of it was.
	changes        []change
	edits          map[string]edit
	hasNewLoads    bool
}

func (st *state) newDelivery() *delivery {
	return &delivery{asOf: st.asOf, resumeID: st.seen.watermark, resumeIDBefore: st.seen.watermark, edits: make(map[string]edit)}
}

// noteHistory applies a page of the history, its controllers, and the other controllers that were named.
func (st *state) applyHistory(page service.ChangePage, named []string, byID map[string]*service.Controller) *delivery {
	d := st.newDelivery()
	d.asOf, st.oldestID = page.AsOf, page.Oldest

	hasTransition := make(map[string]bool, len(named))
	for i := range page.Transitions {
		t := &page.Transitions[i]
		if !st.seen.add(*t, time.Now()) {
			continue
		}
		st.fingerprints.add(*t)
		hasTransition[t.ControllerID] = true
		made := service.WatchChange{ControllerID: t.ControllerID, Controller: byID[t.ControllerID], Transition: t}
		d.changes = append(d.changes, change{made, st.regionOf(t.ControllerID)})
	}
	st.seen.advance(time.Now())
	d.resumeID = st.seen.watermark

	pending := make(map[string]bool)
	for _, id := range named {
		switch {
		case hasTransition[id]:
			st.setController(d, id, byID[id], false)
		case st.hasNewHealth(id, byID[id]) && !st.pendingTransitions[id]:
			pending[id] = true
		default:
			st.applyController(d, id, byID[id])
		}
	}
	st.pendingTransitions = pending

	for id, deadline := range st.deadlines {
		if page.AsOf.Before(deadline) {
			continue
		}
		if c := st.find(d, id); c != nil && !c.IsPastDeadline() {
			late := *c
			late.AsOf = page.AsOf
			st.applyController(d, id, &late)
		}
	}
	return d
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

// find returns a controller as a delivery leaves it.
func (st *state) find(d *delivery, id string) *service.Controller {
	if e, ok := d.edits[id]; ok {
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

func (st *state) setController(d *delivery, id string, c *service.Controller, loaded bool) {
	d.edits[id] = edit{id: id, controller: c, hasNewLoad: loaded || d.edits[id].hasNewLoad}
	st.updateDeadline(id, c)
}

// noteDeadline keeps the deadline of a drain, to report when it has passed.
func (st *state) updateDeadline(id string, c *service.Controller) {
	if c != nil && c.Drain != nil && !c.Drain.Deadline.IsZero() && !c.IsPastDeadline() {
		st.deadlines[id] = c.Drain.Deadline
	} else {
		delete(st.deadlines, id)
	}
}

// compare applies a controller without a new transition; nil if it does not exist.
func (st *state) applyController(d *delivery, id string, c *service.Controller) {
	old := st.find(d, id)
	loaded := false
	switch {
	case old == nil && c == nil:
		return
	case old == nil || c == nil || !equalExceptLoad(old, c):
		d.changes = append(d.changes, change{service.WatchChange{ControllerID: id, Controller: c}, st.regionOf(id)})
	case !equalLoads(old, c):
		loaded, d.hasNewLoads = true, true
	default:
		return
	}
	st.setController(d, id, c, loaded)
}

// take makes a delivery part of the state, and reports whether readers have something to read.
func (st *state) deliver(d *delivery) bool {
	for _, c := range d.changes {
		if c.Controller != nil && c.Controller.AsOf.After(d.asOf) {
			d.asOf = c.Controller.AsOf // What is shown is no older than what it shows.
		}
	}
	st.asOf = d.asOf

	for left := d.changes; len(left) > 0; {
		some := left[:min(partSize, len(left))]
		left = left[len(some):]
		e := &event{loadVersion: st.loadVersion, WatchEvent: service.WatchEvent{AsOf: d.asOf, Changes: make([]service.WatchChange, 0, len(some))}}
		setCursor(&e.WatchEvent, st.fingerprints.cursor(d.resumeIDBefore))
		if len(left) == 0 {
			setCursor(&e.WatchEvent, st.fingerprints.cursor(d.resumeID))
		}
		for _, c := range some {
			e.Changes, e.previousRegions = append(e.Changes, c.WatchChange), append(e.previousRegions, c.previousRegion)
		}
		st.log.append(e)
	}

	edits := make([]edit, 0, len(d.edits))
	for _, e := range d.edits {
		edits = append(edits, e)
	}
	slices.SortFunc(edits, func(a, b edit) int { return strings.Compare(a.id, b.id) })

	if d.hasNewLoads {
		st.loadVersion++
	}
	st.fleet = st.fleet.withEdits(edits, st.loadVersion)
	return len(d.changes) > 0 || d.hasNewLoads
}
