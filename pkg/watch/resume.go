package watch

import "darktower.example/global-controller/service"

// replayAtMost is how many changes a resumed watch is sent. A reader that missed more is sent a snapshot.
const maxReplay = 5000

// resume continues the reader after its cursor, from what the hub has in memory. It does not read the store.
func (r *watch) resume(latest *view) {
	after := r.cursor.ID
	if !latest.fingerprints.hasCursor(r.cursor) {
		r.beginSnapshot(latest, service.SnapshotGone)
		return
	}
	v := r.hub.shared.chooseView(latest, r.beatDue.Add(-beatInterval), 0, min(after, latest.highestID))
	if number, ok := v.log.eventSince(after); ok {
		r.setView(v)
		r.position.nextEvent = number
		if number < v.log.end() {
			r.loadVersion = v.log.at(number).loadVersion
		}
		return
	}

	number, changes := v.log.eventAfter(after)
	// The history does not record to which region a controller has moved.
	if r.query.Region != "" || after > v.highestID || after < v.log.completeAfter || changes > maxReplay || v.oldestID > 0 && after < v.oldestID-1 {
		r.beginSnapshot(latest, service.SnapshotGone)
		return
	}
	r.setView(v)
	r.position.nextEvent, r.position.skipThrough, r.fleetPass.isActive = number, after, true
}
