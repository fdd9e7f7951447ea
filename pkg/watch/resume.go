package watch

import (
	"cmp"
	"context"
	"slices"

	"darktower.example/global-controller/service"
)

// replayAtMost is how many changes a resumed watch is told of. Who missed more begins anew.
const replayAtMost = 5000

// resume has the reader go on after the id that it knows.
func (r *reader) resume(ctx context.Context) error {
	h, after := r.hub, r.id
	h.mu.Lock()
	st := h.state
	if st == nil {
		h.mu.Unlock()
		return stopping() // As for those who start.
	}
	if missed, ok := st.log.since(after); ok {
		r.catchUp(st, missed)
		h.mu.Unlock()
		return nil
	}
	s := st.snapshotFor(r.beat.Add(-beatEvery), 0, min(after, st.seen.highest))
	h.mu.Unlock()
	page, err := h.cfg.Source.Changes(ctx, after, nil, replayAtMost+1)
	if err != nil {
		return err
	}
	// The history does not tell where controllers went that are in another region now.
	gone := r.query.Region != "" || len(page.Transitions) > replayAtMost || after > page.Newest || page.Oldest > 0 && after < page.Oldest-1
	h.mu.Lock()
	defer h.mu.Unlock()
	if gone {
		r.begin(st, service.SnapshotGone)
		return nil
	}
	// Then everything that there is: more may have changed than the history tells.
	r.of, r.next, r.snapshot, r.reason = st, s.next, s, asChanges
	r.replay = replayOf(s, page.Transitions)
	return nil
}

// replayOf tells of changes with the controllers as the snapshot shows them. What it does not show comes later, from the log.
func replayOf(s *snapshot, transitions []service.Transition) (events []service.WatchEvent) {
	for some := range slices.Chunk(transitions, partSize) {
		e := service.WatchEvent{AsOf: s.asOf}
		for i := range some {
			if t := &some[i]; t.ID <= s.highest {
				c := service.WatchChange{ControllerID: t.ControllerID, Transition: t}
				if at, ok := slices.BinarySearchFunc(s.controllers, t.ControllerID, func(c *service.Controller, id string) int { return cmp.Compare(c.ControllerID, id) }); ok {
					c.Controller = s.controllers[at]
				}
				e.Changes = append(e.Changes, c)
			}
		}
		if len(e.Changes) > 0 {
			events = append(events, e)
		}
	}
	return events
}

// catchUp has the reader told of what it missed, each controller as it is now. The hub's lock is held.
func (r *reader) catchUp(st *state, missed []*event) {
	var changes []change
	untold := make(map[string]int) // Where a controller's change is that came with nothing of the history.
	reported := make(map[string]string)
	for _, e := range missed {
		for i, c := range e.Changes {
			c.Controller = st.controllers[c.ControllerID]
			known, ok := untold[c.ControllerID]
			switch {
			case c.Transition != nil || !ok:
				if c.Transition == nil {
					untold[c.ControllerID] = len(changes)
				}
				changes = append(changes, change{c, e.regions[i]})
			case r.query.Region != "" && e.regions[i] == r.query.Region:
				changes[known].was = e.regions[i]
			}
		}
		for i, l := range e.Loads {
			reported[l.ControllerID] = e.regions[i]
		}
	}
	e := service.WatchEvent{AsOf: st.asOf}
	for _, c := range changes {
		seen, ok := c.WatchChange, true
		if r.query.Region != "" {
			seen, ok = changeIn(r.query.Region, c)
		}
		if !ok {
			continue
		}
		if e.Changes = append(e.Changes, seen); len(e.Changes) == partSize {
			r.replay, e.Changes = append(r.replay, e), nil
		}
	}
	if len(e.Changes) > 0 {
		r.replay = append(r.replay, e)
	}
	if r.query.Loads {
		e.Changes = nil
		for id := range reported {
			if c := st.controllers[id]; c != nil && (r.query.Region == "" || r.query.Region == c.Region) {
				e.Loads = append(e.Loads, loadOf(c))
			}
		}
		if len(e.Loads) > 0 {
			r.replay = append(r.replay, e)
		}
	}
	if n := len(r.replay); n > 0 {
		r.replay[n-1].ID = st.seen.watermark
	}
	r.of, r.next = st, st.log.end()
}
