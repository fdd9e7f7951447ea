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
	// historyEventSize is the number of changes in an event that was read from the history. A watch that resumes within such an event
	// does not share the rest of it.
	historyEventSize = 25
	// For shareTime watches begin with the same view, which later changes follow. While watches still send the view, this is
	// extended to shareTimeInUse, because its parts are encoded already.
	shareTime, shareTimeInUse = time.Second, 10 * time.Second
)

// epoch is a period without a missed change. Positions of one epoch are invalid in another.
type epoch struct{ _ byte }

// view is the fleet at one time. It never changes, so a watch reads it without a lock and delays nothing.
type view struct {
	epoch        *epoch // nil before the fleet was read
	asOf         time.Time
	watermark    int64 // the id to resume from after the view
	highestID    int64 // of a change in the view
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

// cursor is the cursor to resume from after the view.
func (v *view) cursor() service.Cursor { return v.fingerprints.cursor(v.watermark) }

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

// snapshotPart returns one part of a snapshot of a region, and reports whether it is the last. An empty region stands for all.
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
		setCursor(&e, v.cursor())
	}
	return e, isLast
}

// replay returns the changes from an event of the log on, each with the controller of the view, and the number of the next event.
// Changes of the history up to the id skipThrough in the first event are left out.
func (v *view) replay(region string, first uint64, skipThrough int64) (e service.WatchEvent, next uint64) {
	e.AsOf = v.asOf
	block := v.log.at(first).changesBefore / partSize
	hasPlainChangeByID := make(map[string]bool) // A plain change has no transition.

	for next = first; next < v.log.end(); next++ {
		logged := v.log.at(next)
		if next > first && logged.changesBefore/partSize != block {
			break // Watches that began at another event share the part from here on.
		}
		for i, c := range logged.Changes {
			isRepeated := false
			if c.Transition == nil {
				isRepeated = hasPlainChangeByID[c.ControllerID]
				hasPlainChangeByID[c.ControllerID] = true
			}
			switch {
			case isRepeated && (region == "" || logged.previousRegions[i] != region):
				continue
			case c.Transition != nil && next == first && c.Transition.ID <= skipThrough && next < v.log.firstLive:
				continue
			}

			c.Controller = v.fleet.find(c.ControllerID)
			if region == "" {
				e.Changes = append(e.Changes, c)
			} else if c, ok := changeForRegion(region, change{WatchChange: c, previousRegion: logged.previousRegions[i]}); ok {
				e.Changes = append(e.Changes, c)
			}
		}
	}
	return e, next
}

// loadsAfter returns loads that changed after a load version, of controllers with ids above after. last is the id after which the
// next loads begin, empty if there are none.
func (v *view) loadsAfter(region string, version uint64, after string) (e service.WatchEvent, last string) {
	e = service.WatchEvent{AsOf: v.asOf}
	setCursor(&e, v.cursor())

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
