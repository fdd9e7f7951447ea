package watch

import (
	"slices"
	"strings"
	"time"

	"darktower.example/global-controller/service"
)

// state is what is known of the fleet, and what readers are told. The hub's lock guards it, for those who do not change it.
type state struct {
	seen        cursor
	asOf        time.Time
	controllers map[string]*service.Controller // Each is replaced, never changed: readers have them.
	log         eventLog
	snapshot    *snapshot // The last one, for whoever needs one soon.
}

func newState(seen cursor, asOf time.Time, fleet []service.Controller) *state {
	st := &state{seen: seen, asOf: asOf, controllers: make(map[string]*service.Controller, len(fleet))}
	for i := range fleet {
		st.controllers[fleet[i].ControllerID] = &fleet[i]
	}
	st.log.startID, st.log.startAsOf = seen.watermark, asOf
	return st
}

// change is one of an event's changes, and the region that the controller was in before; empty when it was not there.
type change struct {
	service.WatchChange
	was string
}

// delivery is what one round has for the readers.
type delivery struct {
	asOf    time.Time
	id      int64 // What to go on from when all of it was received.
	before  int64 // What to go on from when not all of it was.
	changes []change
	loads   []load
}

// load is a load and the region of its controller.
type load struct {
	service.WatchLoad
	region string
}

// apply takes over what was read, and returns what of it is new.
func (st *state) apply(read reading) delivery {
	d := delivery{asOf: read.page.AsOf, before: st.seen.watermark}
	told := make(map[string]bool, len(read.named))
	for i := range read.page.Transitions {
		t := &read.page.Transitions[i]
		if !st.seen.add(*t) {
			continue
		}
		told[t.ControllerID] = true
		d.changes = append(d.changes, change{service.WatchChange{ControllerID: t.ControllerID, Controller: read.byID[t.ControllerID], Transition: t}, st.regionOf(t.ControllerID)})
	}
	st.seen.settle(read.page.AsOf)
	d.id = st.seen.watermark
	// What was asked for by name was read later than the rows.
	named := make(map[string]bool, len(read.named))
	for _, id := range read.named {
		named[id] = true
		if told[id] {
			st.set(id, read.byID[id])
		} else {
			st.compare(&d, id, read.byID[id])
		}
	}
	there := make(map[string]bool, len(read.rows))
	for i := range read.rows {
		c := &read.rows[i]
		there[c.ControllerID] = true
		if !named[c.ControllerID] {
			st.compare(&d, c.ControllerID, c)
		}
	}
	if !read.refreshed {
		return st.dated(d)
	}
	for id, c := range st.controllers {
		switch {
		case read.whole && !there[id] && !named[id]:
			st.compare(&d, id, nil) // Somebody deleted the row by hand.
		case c.Drain != nil && !c.Drain.Deadline.IsZero() && !c.DeadlinePassed() && !read.page.AsOf.Before(c.Drain.Deadline):
			late := *c
			late.AsOf = read.page.AsOf
			st.compare(&d, id, &late)
		}
	}
	return st.dated(d)
}

// dated gives a delivery the time of the latest that it shows.
func (st *state) dated(d delivery) delivery {
	for _, c := range d.changes {
		if c.Controller != nil && c.Controller.AsOf.After(d.asOf) {
			d.asOf = c.Controller.AsOf
		}
	}
	st.asOf = d.asOf
	return d
}

func (st *state) regionOf(id string) string {
	if c := st.controllers[id]; c != nil {
		return c.Region
	}
	return ""
}

func (st *state) set(id string, c *service.Controller) {
	if c == nil {
		delete(st.controllers, id)
	} else {
		st.controllers[id] = c
	}
}

// compare takes over a controller of which the history tells nothing new; nil when there is none.
func (st *state) compare(d *delivery, id string, c *service.Controller) {
	old := st.controllers[id]
	switch {
	case old == nil && c == nil:
		return
	case old == nil || c == nil || !sameButLoad(old, c):
		d.changes = append(d.changes, change{service.WatchChange{ControllerID: id, Controller: c}, st.regionOf(id)})
	case !sameLoad(old, c):
		d.loads = append(d.loads, load{loadOf(c), c.Region})
	}
	st.set(id, c)
}

// publish writes a delivery to the log, and tells whether it had anything.
func (st *state) publish(d delivery) bool {
	for some := range slices.Chunk(d.changes, partSize) {
		e := &event{WatchEvent: service.WatchEvent{ID: d.before, AsOf: d.asOf, Changes: make([]service.WatchChange, 0, len(some))}}
		for _, c := range some {
			e.Changes, e.regions = append(e.Changes, c.WatchChange), append(e.regions, c.was)
		}
		st.log.append(e)
	}
	if len(d.changes) > 0 {
		st.log.events[len(st.log.events)-1].ID = d.id // The last of them; nobody has read it yet.
	}
	for some := range slices.Chunk(d.loads, partSize) {
		e := &event{WatchEvent: service.WatchEvent{ID: d.id, AsOf: d.asOf, Loads: make([]service.WatchLoad, 0, len(some))}}
		for _, l := range some {
			e.Loads, e.regions = append(e.Loads, l.WatchLoad), append(e.regions, l.region)
		}
		st.log.append(e)
	}
	return len(d.changes)+len(d.loads) > 0
}

// tellNews wakes the readers. The hub's lock is held.
func (h *Hub) tellNews() {
	close(h.news)
	h.news = make(chan struct{})
}

// sorted returns the controllers in the order of their ids.
func (st *state) sorted() []*service.Controller {
	all := make([]*service.Controller, 0, len(st.controllers))
	for _, c := range st.controllers {
		all = append(all, c)
	}
	slices.SortFunc(all, byID)
	return all
}

func byID(a, b *service.Controller) int { return strings.Compare(a.ControllerID, b.ControllerID) }
