package watch

import (
	"time"

	"darktower.example/global-controller/service"
)

// stepKind is what a watch does next.
type stepKind int

const (
	retry         stepKind = iota + 1 // The position has changed: determine the step again.
	sendEvent                         // Send the event.
	waitForUpdate                     // Wait until the channel is closed, at most until a time.
)

// step is the next step of a watch.
type step struct {
	kind    stepKind
	event   service.WatchEvent
	updated <-chan struct{}
	until   time.Time
}

func retryStep() step { return step{kind: retry} }

func sendStep(e service.WatchEvent) step { return step{kind: sendEvent, event: e} }

// sendUnlessEmpty returns the step that sends an event, or a retry if the event has no changes and no loads for the watch.
func sendUnlessEmpty(e service.WatchEvent) step {
	if len(e.Changes) == 0 && len(e.Loads) == 0 {
		return retryStep()
	}
	return sendStep(e)
}

func waitStep(updated <-chan struct{}, until time.Time) step {
	return step{kind: waitForUpdate, updated: updated, until: until}
}

// nextStep returns the next event, or what to wait for.
func (w *watch) nextStep(now time.Time) step {
	for {
		var s step
		if w.position.view == nil {
			s = w.stepInLog(now)
		} else {
			s = w.stepInView(now)
		}
		if s.kind != retry {
			return s
		}
	}
}

// stepInLog returns the step of a watch that has sent its view.
func (w *watch) stepInLog(now time.Time) step {
	v := w.hub.view.Load()

	switch {
	case !now.Before(w.keepAliveDue):
		return sendStep(w.takeKeepAlive(v, now))
	case v.epoch == nil:
		return waitStep(v.updated, w.keepAliveDue)
	case w.epoch != v.epoch:
		w.beginSnapshot(v, service.SnapshotGone)
		return retryStep()
	case w.nextEvent < v.log.first:
		return w.stepAfterLag(v, now)
	case w.nextEvent < v.log.end():
		return sendUnlessEmpty(w.takeLogged(v))
	case w.query.Loads && w.loadVersion < v.loadVersion:
		// After all changes: a load must not be sent before an older change of its controller.
		return sendUnlessEmpty(w.takeLoads(v, now))
	case w.fleetPass.isActive:
		return sendUnlessEmpty(w.takeFleetPart(v, now))
	default:
		return waitStep(v.updated, w.keepAliveDue)
	}
}

// takeKeepAlive returns an event without changes, which shows that the watch works.
func (w *watch) takeKeepAlive(v *view, now time.Time) service.WatchEvent {
	w.keepAliveDue = now.Add(keepAliveInterval)
	e := service.WatchEvent{AsOf: v.asOf}
	setCursor(&e, w.cursor)
	return e
}

// stepAfterLag begins a snapshot, because the log has dropped the next event. If the last snapshot was too recent, the watch waits.
func (w *watch) stepAfterLag(v *view, now time.Time) step {
	due := w.snapshotBeganAt.Add(lagSnapshotInterval)
	if now.Before(due) {
		if due.After(w.keepAliveDue) {
			due = w.keepAliveDue
		}
		return waitStep(w.hub.stopped, due) // An update changes nothing before that time.
	}

	w.hub.cfg.Observer.IncLagged()
	w.beginSnapshot(v, service.SnapshotLagged)
	return retryStep()
}

// takeLogged returns the part of the next event of the log for the watch. The part is empty if no change is in the watch's region.
func (w *watch) takeLogged(v *view) service.WatchEvent {
	e := v.log.at(w.nextEvent)
	w.nextEvent++

	if w.fleetPass.isActive {
		return e.withoutID() // Such a watch has all regions.
	}
	w.cursor = e.Cursor()
	return e.forRegion(w.query.Region)
}

// stepInView returns the step of a watch that sends a view.
func (w *watch) stepInView(now time.Time) step {
	switch p := &w.position; {
	case p.nextEvent < p.view.log.end():
		return sendUnlessEmpty(w.takeReplayPart(now))
	case p.snapshotReason != "":
		return sendStep(w.takeSnapshotPart(now))
	default:
		w.releaseView()
		return retryStep()
	}
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
			setCursor(&p.event, pos.view.endCursor())
		}
		return p
	})

	pos.nextEvent = p.nextEvent
	pos.skipThrough = 0
	if p.isLast {
		w.cursor = pos.view.endCursor()
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
		w.cursor = pos.view.endCursor()
		w.releaseView()
	}
	return p.event
}
