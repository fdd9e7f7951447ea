package watch

import (
	"time"

	"darktower.example/global-controller/service"
)

// fill is the position of a resumed reader in the fleet. The reader is sent the fleet in parts, in the order of the ids, between
// new changes: more may have changed than the history records. Until the fill is complete no event has an id to resume from.
type fleetPass struct {
	isActive bool
	after    string
}

// loadsPass is the position of a reader in the loads that changed up to the reading with the number to.
type loadsPass struct {
	throughVersion uint64
	after          string
}

// takeLoads returns loads that the reader was not sent yet; an empty event if it has all.
func (r *watch) takeLoads(v *view, now time.Time) service.WatchEvent {
	if r.loadsPass.throughVersion == 0 {
		r.loadsPass.throughVersion = v.loadVersion
	}

	key := partKey{view: v, region: r.query.Region, kind: loadsPart, number: r.loadVersion, after: r.loadsPass.after, isIncomplete: r.fleetPass.isActive}
	p := r.hub.parts.get(key, now, func() (p part) {
		if p.event, p.after = v.loadsAfter(r.query.Region, r.loadVersion, r.loadsPass.after); key.isIncomplete {
			setCursor(&p.event, service.Cursor{})
		}
		return p
	})

	if r.loadsPass.after = p.after; p.after == "" {
		r.loadVersion, r.loadsPass = r.loadsPass.throughVersion, loadsPass{}
	}
	if !key.isIncomplete {
		r.cursor = v.cursor()
	}

	return p.event
}

// takeFill returns the next part of the fleet in a fill.
func (r *watch) takeFleetPart(v *view, now time.Time) service.WatchEvent {
	chunk, last := v.fleet.chunkAfter(r.fleetPass.after)
	if chunk == nil {
		r.fleetPass, r.cursor = fleetPass{}, v.cursor()
		return service.WatchEvent{}
	}

	// A chunk is the same in every view that has it, but for the last, which brings the id to go on from.
	key := partKey{kind: fleetPassPart, chunk: chunk}
	if last {
		key.view = v
	}

	p := r.hub.parts.get(key, now, func() (p part) {
		if p.event.AsOf = v.asOf; last {
			setCursor(&p.event, v.cursor())
		}
		for _, c := range chunk.controllers {
			p.event.Changes = append(p.event.Changes, service.WatchChange{ControllerID: c.ControllerID, Controller: c})
		}
		return p
	})

	if r.fleetPass.after = chunk.controllers[len(chunk.controllers)-1].ControllerID; last {
		r.fleetPass, r.cursor = fleetPass{}, v.cursor()
	}

	return p.event
}
