package watch

import (
	"sync"
	"sync/atomic"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// partSize limits the controllers, changes or loads of an event. It keeps what a watch whose client does not read holds of them
	// below 64 KiB, even if no other watch shares it.
	partSize = 100
	// historyEventSize is the number of transitions in an event that was read from the history. A watch that resumes within such an event
	// does not share the rest of it.
	historyEventSize = 25
	// shareTime is how long new watches begin with the same view, which later changes follow.
	shareTime = time.Second
	// shareTimeInUse is the same time for a view that watches still send. It is longer, because the parts are encoded already.
	shareTimeInUse = 10 * time.Second
)

// epoch is a period without a missed change. Positions of one epoch are invalid in another.
type epoch struct{ _ byte }

// view is the fleet at one time. It never changes, so a watch reads it without a lock and delays nothing.
type view struct {
	epoch        *epoch // nil before the fleet was read
	asOf         time.Time
	watermark    int64 // the id to resume from after the view
	highestID    int64 // of a transition in the view
	oldestID     int64 // in the history
	fingerprints *fingerprints
	fleet        fleet
	log          eventLog
	loadVersion  uint64
	updated      chan struct{} // Closed when a view with an update is published.

	activeWatches atomic.Int64 // the number of watches that send the view

	mu                  sync.Mutex
	controllersByRegion map[string][]*service.Controller
}

// endCursor returns the cursor to resume from after the view.
func (v *view) endCursor() service.Cursor { return v.fingerprints.cursorAfter(v.watermark) }

// inRegion returns the controllers of a region. Watches share the result.
func (v *view) inRegion(region string) []*service.Controller {
	v.mu.Lock()
	defer v.mu.Unlock()
	if controllers, ok := v.controllersByRegion[region]; ok {
		return controllers
	}

	var controllers []*service.Controller
	for _, chunk := range v.fleet.chunks {
		for _, c := range chunk.controllers {
			if c.Region == region {
				controllers = append(controllers, c)
			}
		}
	}

	if len(controllers) > 0 {
		if v.controllersByRegion == nil {
			v.controllersByRegion = make(map[string][]*service.Controller)
		}
		v.controllersByRegion[region] = controllers
	}
	return controllers
}

// snapshotPart returns one part of a snapshot of a region, and reports whether it is the last. Only the last part has an id to resume
// from. An empty region stands for all.
func (v *view) snapshotPart(region, reason string, number int) (e service.WatchEvent, isLast bool) {
	var controllers []*service.Controller
	if region == "" {
		if number < len(v.fleet.chunks) {
			controllers = v.fleet.chunks[number].controllers
		}
		isLast = number+1 >= len(v.fleet.chunks)
	} else {
		all := v.inRegion(region)
		from := min(number*partSize, len(all))
		to := min(from+partSize, len(all))
		controllers, isLast = all[from:to], to == len(all)
	}

	e = service.WatchEvent{
		AsOf: v.asOf,
		Snapshot: &service.WatchSnapshot{
			Begin:       number == 0,
			End:         isLast,
			Reason:      reason,
			Controllers: controllers,
		},
	}
	if isLast {
		setCursor(&e, v.endCursor())
	}
	return e, isLast
}

// replay returns the changes from an event of the log on, each with the controller of the view, and the number of the next event.
// Transitions up to the id skipThrough in the first event are left out.
func (v *view) replay(region string, first uint64, skipThrough int64) (e service.WatchEvent, next uint64) {
	e.AsOf = v.asOf
	block := v.log.at(first).changesBefore / partSize
	plain := make(plainChanges)

	for next = first; next < v.log.end(); next++ {
		logged := v.log.at(next)
		if next > first && logged.changesBefore/partSize != block {
			break // Watches that began at another event share the part from here on.
		}
		if next > first || next >= v.log.firstLive {
			skipThrough = 0
		}

		for i := range logged.Changes {
			c := logged.change(i)
			if isRepeated := plain.add(region, c); isRepeated || c.hasTransitionUpTo(skipThrough) {
				continue
			}
			c.Controller = v.fleet.find(c.ControllerID)
			if sent, ok := changeForRegion(region, c); ok {
				e.Changes = append(e.Changes, sent)
			}
		}
	}
	return e, next
}

// plainChanges has the controllers for which a replay has a plain change, which is one without a transition.
type plainChanges map[string]bool

// add records a change, and reports whether it is plain and repeats one with the same controller. A change that may be the removal of
// the controller from the region does not count as repeated.
func (p plainChanges) add(region string, c change) (isRepeated bool) {
	if c.Transition != nil {
		return false
	}
	isKnown := p[c.ControllerID]
	p[c.ControllerID] = true
	return isKnown && (region == "" || c.previousRegion != region)
}

// loadsAfter returns loads that changed after a load version, of controllers with ids above after. last is the id after which the
// next loads begin, empty if there are none.
func (v *view) loadsAfter(region string, version uint64, after string) (e service.WatchEvent, last string) {
	e = service.WatchEvent{AsOf: v.asOf}
	setCursor(&e, v.endCursor())

	for i, chunk := range v.fleet.chunks {
		isBefore := i+1 < len(v.fleet.chunks) && v.fleet.chunks[i+1].controllers[0].ControllerID <= after
		if isBefore || chunk.newestLoadVersion <= version {
			continue
		}
		for j, c := range chunk.controllers {
			if chunk.loadVersions[j] <= version || c.ControllerID <= after || region != "" && c.Region != region {
				continue
			}
			if len(e.Loads) == partSize {
				return e, e.Loads[partSize-1].ControllerID
			}
			e.Loads = append(e.Loads, loadOf(c))
		}
	}
	return e, ""
}
