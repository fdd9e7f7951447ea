package watch

import "darktower.example/global-controller/service"

// replayAtMost is how many changes a resumed watch is sent. A reader that missed more is sent a snapshot.
const replayAtMost = 5000

// resume continues the reader after its cursor, from what the hub has in memory. It does not read the store.
func (r *reader) resume(latest *view) {
	after := r.at.ID
	if !latest.fingerprints.hasCursor(r.at) {
		r.begin(latest, service.SnapshotGone)
		return
	}
	v := r.hub.shared.choose(latest, r.beat.Add(-beatEvery), 0, min(after, latest.highest))
	if number, ok := v.log.since(after); ok {
		r.read(v)
		r.whole.replay = number
		if number < v.log.end() {
			r.loads = v.log.at(number).loads
		}
		return
	}

	number, changes := v.log.after(after)
	// The history does not record to which region a controller has moved.
	if r.query.Region != "" || after > v.highest || after < v.log.from || changes > replayAtMost || v.oldest > 0 && after < v.oldest-1 {
		r.begin(latest, service.SnapshotGone)
		return
	}
	r.read(v)
	r.whole.replay, r.whole.skipThrough, r.fill.isActive = number, after, true
}
