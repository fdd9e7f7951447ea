package watch

import (
	"time"

	"darktower.example/global-controller/service"
)

// fill is where a resumed reader is in the fleet, which it is sent in the order of the ids, bit by bit beside what changes:
// more may have changed than the history tells. Until it is over no event has an id to go on from.
type fill struct {
	going bool
	after string
}

// loadsPass is where a reader is in the loads that changed up to a reading of them.
type loadsPass struct {
	to    uint64
	after string
}

// takeLoads returns loads that the reader was not sent yet; nothing when it has all.
func (r *reader) takeLoads(v *view, now time.Time) service.WatchEvent {
	if r.pass.to == 0 {
		r.pass.to = v.loads
	}
	key := partKey{of: v, region: r.query.Region, kind: loadsPart, number: r.loads, after: r.pass.after, midst: r.fill.going}
	p := r.hub.parts.get(key, now, func() (p part) {
		if p.event, p.after = v.loadsAfter(r.query.Region, r.loads, r.pass.after); key.midst {
			mark(&p.event, service.Cursor{})
		}
		return p
	})
	if r.pass.after = p.after; p.after == "" {
		r.loads, r.pass = r.pass.to, loadsPass{}
	}
	if !key.midst {
		r.at = v.cursor()
	}
	return p.event
}

// takeFill returns the next part of the fleet that the reader is sent beside what changes.
func (r *reader) takeFill(v *view, now time.Time) service.WatchEvent {
	chunk, last := v.fleet.after(r.fill.after)
	if chunk == nil {
		r.fill, r.at = fill{}, v.cursor()
		return service.WatchEvent{}
	}
	// A chunk is the same in every view that has it, but for the last, which brings the id to go on from.
	key := partKey{kind: fillPart, chunk: chunk}
	if last {
		key.of = v
	}
	p := r.hub.parts.get(key, now, func() (p part) {
		if p.event.AsOf = v.asOf; last {
			mark(&p.event, v.cursor())
		}
		for _, c := range chunk.controllers {
			p.event.Changes = append(p.event.Changes, service.WatchChange{ControllerID: c.ControllerID, Controller: c})
		}
		return p
	})
	if r.fill.after = chunk.controllers[len(chunk.controllers)-1].ControllerID; last {
		r.fill, r.at = fill{}, v.cursor()
	}
	return p.event
}
