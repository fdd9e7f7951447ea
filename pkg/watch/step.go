package watch

import (
	"time"

	"darktower.example/global-controller/service"
)

// stepKind is what a watch does next.
type stepKind int

const (
	retry         stepKind = iota // The position has changed: determine the step again.
	sendEvent                     // Send the event.
	waitForUpdate                 // Wait until the channel is closed, at most until a time.
)

// step is the next step of a watch.
type step struct {
	kind    stepKind
	event   service.WatchEvent
	updated <-chan struct{}
	until   time.Time
}

func sendStep(e service.WatchEvent) step { return step{kind: sendEvent, event: e} }

func waitStep(updated <-chan struct{}, until time.Time) step {
	return step{kind: waitForUpdate, updated: updated, until: until}
}

// nextStep returns the next event, or what to wait for.
func (w *watch) nextStep(now time.Time) step {
	for {
		var s step
		if w.position.view != nil {
			s = w.stepInView(now)
		} else {
			s = w.stepInLog(now)
		}
		if s.kind != retry {
			return s
		}
	}
}

// stepInLog returns the step of a watch that has sent its view.
func (w *watch) stepInLog(now time.Time) (s step) {
	v := w.hub.view.Load()

	switch {
	case !now.Before(w.beatDue):
		w.beatDue = now.Add(beatInterval)
		s = sendStep(service.WatchEvent{AsOf: v.asOf})
		setCursor(&s.event, w.cursor)
	case v.epoch == nil:
		s = waitStep(v.updated, w.beatDue)
	case w.epoch != v.epoch:
		w.beginSnapshot(v, service.SnapshotGone)
	case w.nextEvent < v.log.first:
		s = w.stepAfterLag(v, now)
	case w.nextEvent < v.log.end():
		next := v.log.at(w.nextEvent)
		w.nextEvent++
		if e, ok := w.filterEvent(next); ok {
			s = sendStep(e)
		}
	case w.query.Loads && w.loadVersion < v.loadVersion:
		// After all changes: a load must not be sent before an older change of its controller.
		if e := w.takeLoads(v, now); len(e.Loads) > 0 {
			s = sendStep(e)
		}
	case w.fleetPass.isActive:
		if e := w.takeFleetPart(v, now); len(e.Changes) > 0 {
			s = sendStep(e)
		}
	default:
		s = waitStep(v.updated, w.beatDue)
	}
	return s
}

// stepAfterLag begins a snapshot, because the log has dropped the next event. If the last snapshot was too recent, the watch waits.
func (w *watch) stepAfterLag(v *view, now time.Time) step {
	due := w.snapshotBeganAt.Add(lagSnapshotInterval)
	if now.Before(due) {
		if due.After(w.beatDue) {
			due = w.beatDue
		}
		return waitStep(w.hub.stopped, due) // An update changes nothing before that time.
	}

	w.hub.cfg.Observer.IncLagged()
	w.beginSnapshot(v, service.SnapshotLagged)
	return step{kind: retry}
}

// filterEvent returns the part of an event for the watch, and reports whether the part has changes.
func (w *watch) filterEvent(e *event) (service.WatchEvent, bool) {
	if w.fleetPass.isActive {
		return e.withoutID(), true // Such a watch has all regions.
	}
	w.cursor = e.Cursor()
	return e.forRegion(w.query.Region)
}

// stepInView returns the step of a watch that sends a view.
func (w *watch) stepInView(now time.Time) step {
	switch p := &w.position; {
	case p.nextEvent < p.view.log.end():
		if e := w.takeReplayPart(now); len(e.Changes) > 0 {
			return sendStep(e)
		}
	case p.snapshotReason != "":
		return sendStep(w.takeSnapshotPart(now))
	default:
		w.releaseView()
	}
	return step{kind: retry}
}

// takeReplayPart returns the next changes of the view. They may be empty for a watch of a region.
func (w *watch) takeReplayPart(now time.Time) service.WatchEvent {
	pos := &w.position
	key := partKey{
		kind:         replayPart,
		view:         pos.view,
		region:       w.query.Region,
		number:       pos.nextEvent,
		isIncomplete: w.fleetPass.isActive,
	}
	if pos.nextEvent < pos.view.log.firstLive {
		key.skipThrough = pos.skipThrough
	}

	p := w.hub.parts.get(key, now, func() (p part) {
		p.event, p.nextEvent = pos.view.replay(w.query.Region, pos.nextEvent, key.skipThrough)
		p.isLast = p.nextEvent == pos.view.log.end() && !key.isIncomplete
		if p.isLast {
			setCursor(&p.event, pos.view.cursor())
		}
		return p
	})

	pos.nextEvent, pos.skipThrough = p.nextEvent, 0
	if p.isLast {
		w.cursor = pos.view.cursor()
	}
	return p.event
}

// takeSnapshotPart returns the next part of the snapshot.
func (w *watch) takeSnapshotPart(now time.Time) service.WatchEvent {
	pos := &w.position
	key := partKey{
		kind:           snapshotPart,
		view:           pos.view,
		region:         w.query.Region,
		snapshotReason: pos.snapshotReason,
		number:         uint64(pos.nextPart), //nolint:gosec // A count is not negative.
	}
	p := w.hub.parts.get(key, now, func() (p part) {
		p.event, p.isLast = pos.view.snapshotPart(w.query.Region, pos.snapshotReason, pos.nextPart)
		return p
	})

	pos.nextPart++
	if p.isLast {
		w.cursor = pos.view.cursor()
		w.releaseView()
	}
	return p.event
}
