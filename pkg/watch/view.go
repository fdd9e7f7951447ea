package watch

import (
	"sync"
	"sync/atomic"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// partSize is how many controllers, changes or loads an event has at the most: what one reader that is not read from
	// holds of them stays below 64 KiB, also when no other reader shares it.
	partSize = 100
	// historySize is how many changes of the history that was read share an event. A reader that resumes amid them has the
	// rest of one to itself.
	historyEventSize = 25
	// shareTime is how long readers begin with the same view; later changes follow it. shareTimeInUse applies while other
	// readers still read the view, because its parts are encoded already.
	shareTime, shareTimeInUse = time.Second, 10 * time.Second
)

// epoch is a period without a missed change. Positions of one epoch are invalid in another.
type epoch struct{ _ byte }

// view is the fleet at one time. It never changes, so a reader of it needs no lock and delays nothing.
type view struct {
	epoch *epoch // nil before the fleet was read
	asOf  time.Time
	// watermark is the id to resume from after this view; highest is the highest id of a change in it; oldest is the lowest id
	// in the history.
	watermark, highestID, oldestID int64
	fingerprints                   *fingerprints
	fleet                          fleet
	log                            eventLog
	// loads is the number of the last reading that changed loads.
	loadVersion uint64
	// news is closed when a view is published that shows something new.
	updated chan struct{}

	// readers is how many are being sent the view as a whole.
	activeWatches atomic.Int64

	mu      sync.Mutex
	regions map[string][]*service.Controller
}

// cursor is where to go on from after the view.
func (v *view) cursor() service.Cursor { return v.fingerprints.cursor(v.watermark) }

// in returns the controllers of a region, which readers share.
func (v *view) inRegion(region string) []*service.Controller {
	v.mu.Lock()
	defer v.mu.Unlock()
	if found, ok := v.regions[region]; ok {
		return found
	}

	var found []*service.Controller
	for _, chunk := range v.fleet.chunks {
		for _, c := range chunk.controllers {
			if c.Region == region {
				found = append(found, c)
			}
		}
	}
	if len(found) > 0 {
		if v.regions == nil {
			v.regions = make(map[string][]*service.Controller)
		}
		v.regions[region] = found
	}
	return found
}

// part returns one part of the fleet in a region, and whether it is the last.
func (v *view) snapshotPart(region, reason string, number int) (e service.WatchEvent, last bool) {
	var some []*service.Controller
	if region == "" {
		if number < len(v.fleet.chunks) {
			some = v.fleet.chunks[number].controllers
		}
		last = number+1 >= len(v.fleet.chunks)
	} else {
		all := v.inRegion(region)
		from := min(number*partSize, len(all))
		to := min(from+partSize, len(all))
		some, last = all[from:to], to == len(all)
	}

	e = service.WatchEvent{AsOf: v.asOf, Snapshot: &service.WatchSnapshot{Begin: number == 0, End: last, Reason: reason, Controllers: some}}
	if last {
		setCursor(&e, v.cursor())
	}
	return e, last
}

// replay returns the changes from an event of the log on, each with the controller as in the view, and the number of the next
// event. Changes of the history up to the id skipThrough are left out of the first event.
func (v *view) replay(region string, from uint64, skipThrough int64) (e service.WatchEvent, next uint64) {
	e.AsOf = v.asOf
	block := v.log.at(from).changesBefore / partSize
	withoutTransition := make(map[string]bool) // controllers that had a change without a transition
	for next = from; next < v.log.end(); next++ {
		of := v.log.at(next)
		if next > from && of.changesBefore/partSize != block {
			break // Readers that began at another event share the part from here on.
		}
		for i, c := range of.Changes {
			switch {
			case c.Transition == nil && withoutTransition[c.ControllerID]:
				if region == "" || of.previousRegions[i] != region {
					continue
				}
			case c.Transition == nil:
				withoutTransition[c.ControllerID] = true
			case next == from && c.Transition.ID <= skipThrough && next < v.log.firstLive:
				continue
			}
			c.Controller = v.fleet.find(c.ControllerID)
			if region == "" {
				e.Changes = append(e.Changes, c)
			} else if c, ok := changeForRegion(region, change{c, of.previousRegions[i]}); ok {
				e.Changes = append(e.Changes, c)
			}
		}
	}

	return e, next
}

// loadsAfter returns loads that changed since a reading of them, of controllers with ids above after, and the last id
// that was looked at: empty when all were.
func (v *view) loadsAfter(region string, since uint64, after string) (e service.WatchEvent, last string) {
	e = service.WatchEvent{AsOf: v.asOf}
	setCursor(&e, v.cursor())
	for i, chunk := range v.fleet.chunks {
		if chunk.newestLoadVersion <= since || i+1 < len(v.fleet.chunks) && v.fleet.chunks[i+1].controllers[0].ControllerID <= after {
			continue
		}
		for at, c := range chunk.controllers {
			if chunk.loadVersions[at] <= since || c.ControllerID <= after || region != "" && c.Region != region {
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
