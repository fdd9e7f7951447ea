package modeltest

import "time"

// vouchModel predicts whether a replica may vouch for the service, and which controllers its next beat excuses. Times are true times.
type vouchModel struct {
	window, failureLifetime int64
	commits                 int64
	failed                  map[string]int64
	unrecorded              map[string]bool // failed controllers that no beat has written yet
	samples                 []commitSample  // oldest first
}

type commitSample struct{ at, commits int64 }

func newVouchModel(fast time.Duration) *vouchModel {
	return &vouchModel{
		window:          (fast * 5 / 4).Milliseconds(),
		failureLifetime: (2 * fast).Milliseconds(),
		failed:          map[string]int64{},
		unrecorded:      map[string]bool{},
	}
}

func (v *vouchModel) recordCommit(id string) {
	v.commits++
	delete(v.failed, id)
	delete(v.unrecorded, id)
}

func (v *vouchModel) recordFailure(id string, now int64) { v.failed[id], v.unrecorded[id] = now, true }

// recordUnverifiable records a heartbeat whose token could not be verified. It counts as failed and excuses no controller.
func (v *vouchModel) recordUnverifiable(id string, now int64) { v.failed[id] = now }

// canVouch reports whether the replica may vouch: at most as many controllers' latest heartbeats failed as heartbeats were committed in the
// window.
func (v *vouchModel) canVouch(now int64) bool {
	v.samples = append(v.samples, commitSample{at: now, commits: v.commits})
	for len(v.samples) > 1 && v.samples[1].at <= now-v.window {
		v.samples = v.samples[1:]
	}

	var failing int64
	for id, at := range v.failed {
		if now-at <= v.failureLifetime {
			failing++
		} else if !v.unrecorded[id] {
			delete(v.failed, id)
		}
	}
	return failing <= v.commits-v.samples[0].commits
}
