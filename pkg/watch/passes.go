package watch

import (
	"time"

	"darktower.example/global-controller/service"
)

// fleetPass is the position of a resumed watch in the fleet, which it sends in parts between new changes. The history does not
// record all changes, so the parts have those that it lacks. Until the last part, no event has an id to resume from.
type fleetPass struct {
	isActive bool
	after    string // the id after which the next part begins
}

// loadsPass is the position of a watch in the loads that changed up to a load version.
type loadsPass struct {
	throughVersion uint64 // 0: the watch has sent all loads that it has begun to send
	after          string // the id after which the next loads begin
}

// takeLoads returns loads that the watch has not sent yet, an empty event if there are none.
func (w *watch) takeLoads(v *view, now time.Time) service.WatchEvent {
	if w.loadsPass.throughVersion == 0 {
		w.loadsPass.throughVersion = v.loadVersion
	}

	key := partKey{
		kind:         loadsPart,
		view:         v,
		region:       w.query.Region,
		number:       w.loadVersion,
		after:        w.loadsPass.after,
		isIncomplete: w.fleetPass.isActive,
	}
	p := w.hub.parts.get(key, now, func() (p part) {
		p.event, p.after = v.loadsAfter(w.query.Region, w.loadVersion, w.loadsPass.after)
		if key.isIncomplete {
			setCursor(&p.event, service.Cursor{})
		}
		return p
	})

	w.loadsPass.after = p.after
	if p.after == "" {
		w.loadVersion = w.loadsPass.throughVersion
		w.loadsPass = loadsPass{}
	}
	if !key.isIncomplete {
		w.cursor = v.endCursor()
	}
	return p.event
}

// takeFleetPart returns the next part of the fleet pass.
func (w *watch) takeFleetPart(v *view, now time.Time) service.WatchEvent {
	chunk, isLast := v.fleet.chunkAfter(w.fleetPass.after)
	if chunk == nil {
		w.fleetPass = fleetPass{}
		w.cursor = v.endCursor()
		return service.WatchEvent{}
	}

	// A chunk is the same in every view that has it. Only the last part has the cursor of its view.
	key := partKey{kind: fleetPassPart, chunk: chunk}
	if isLast {
		key.view = v
	}
	p := w.hub.parts.get(key, now, func() (p part) {
		p.event.AsOf = v.asOf
		if isLast {
			setCursor(&p.event, v.endCursor())
		}
		for _, c := range chunk.controllers {
			p.event.Changes = append(p.event.Changes, service.WatchChange{ControllerID: c.ControllerID, Controller: c})
		}
		return p
	})

	w.fleetPass.after = chunk.controllers[len(chunk.controllers)-1].ControllerID
	if isLast {
		w.fleetPass = fleetPass{}
		w.cursor = v.endCursor()
	}
	return p.event
}
