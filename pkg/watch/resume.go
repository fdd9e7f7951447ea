package watch

import (
	"time"

	"darktower.example/global-controller/service"
)

// maxReplay limits the changes that a resumed watch sends. A watch that missed more sends a snapshot.
const maxReplay = 5000

// resume continues the watch after its cursor, from the memory of the hub. It does not read the store.
func (w *watch) resume(latest *view) {
	after := w.cursor.ID
	if !latest.fingerprints.hasCursor(w.cursor) {
		w.beginSnapshot(latest, service.SnapshotGone)
		return
	}

	v := w.hub.shared.chooseView(latest, time.Now(), 0, min(after, latest.highestID))
	if number, isComplete := v.log.firstLiveEventToResend(after); isComplete {
		w.setView(v)
		w.position.nextEvent = number
		if number < v.log.end() {
			w.loadVersion = v.log.at(number).loadVersion
		}
		return
	}

	number, changes := v.log.firstEventWithTransitionAbove(after)
	switch {
	case w.query.Region != "", // The history does not record the region to which a controller has moved.
		after > v.highestID,
		after < v.log.completeAfter,
		changes > maxReplay,
		v.oldestID > 0 && after < v.oldestID-1:
		w.beginSnapshot(latest, service.SnapshotGone)
	default:
		w.setView(v)
		w.position.nextEvent = number
		w.position.skipThrough = after
		w.fleetPass.isActive = true
	}
}
