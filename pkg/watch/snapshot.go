package watch

import (
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// partSize is how many controllers, changes or loads an event has at the most.
	partSize = 500
	// snapshotAge is how old a snapshot may be that a reader begins with. What changed since comes after it.
	snapshotAge = time.Second
)

// snapshot is the fleet as it was at one time. Readers who come at about the same time share it, and what it is encoded
// to for as long as others may still come.
type snapshot struct {
	made        time.Time // by our clock
	asOf        time.Time
	id          int64  // where to go on from
	highest     int64  // the highest change that it shows
	next        uint64 // the first event that it does not show
	controllers []*service.Controller

	mu      sync.Mutex
	retired bool
	regions map[string][]*service.Controller
	parts   map[partKey]service.WatchEvent
}

type partKey struct {
	region, reason string
	number         int
}

// snapshotFor returns a snapshot that shows at least what comes before the event and up to the change.
func (st *state) snapshotFor(now time.Time, next uint64, id int64) *snapshot {
	if s := st.snapshot; s != nil && now.Sub(s.made) < snapshotAge && s.next >= max(next, st.log.first) && s.highest >= id {
		return s
	}
	if st.snapshot != nil {
		st.snapshot.retire()
	}
	st.snapshot = &snapshot{
		made: now, asOf: st.asOf, id: st.seen.watermark, highest: st.seen.highest, next: st.log.end(), controllers: st.sorted(),
		regions: make(map[string][]*service.Controller), parts: make(map[partKey]service.WatchEvent),
	}
	return st.snapshot
}

// retire lets go of what is only for those who come later. A reader who is slow holds the list, whose controllers other
// snapshots have as well, and nothing that was encoded.
func (s *snapshot) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired, s.parts = true, nil
}

// in returns the controllers of a region; empty for all.
func (s *snapshot) in(region string) []*service.Controller {
	if region == "" {
		return s.controllers
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.regions[region]; ok {
		return found
	}
	var found []*service.Controller
	for _, c := range s.controllers {
		if c.Region == region {
			found = append(found, c)
		}
	}
	if len(found) > 0 && !s.retired {
		s.regions[region] = found
	}
	return found
}

// asChanges stands for the reason of a snapshot where it completes what a reader has, instead of taking its place.
const asChanges = ""

// part returns one part of what is in a region, and whether it is the last.
func (s *snapshot) part(region, reason string, number int) (_ service.WatchEvent, last bool) {
	all := s.in(region)
	from := min(number*partSize, len(all))
	to := min(from+partSize, len(all))
	last = to == len(all)
	key := partKey{region, reason, number}
	s.mu.Lock()
	defer s.mu.Unlock()
	if made, ok := s.parts[key]; ok {
		return made, last
	}
	e := service.WatchEvent{AsOf: s.asOf}
	if last {
		e.ID = s.id
	}
	if reason == asChanges {
		e.Changes = make([]service.WatchChange, 0, to-from)
		for _, c := range all[from:to] {
			e.Changes = append(e.Changes, service.WatchChange{ControllerID: c.ControllerID, Controller: c})
		}
	} else {
		e.Snapshot = &service.WatchSnapshot{Begin: number == 0, End: last, Reason: reason, Controllers: all[from:to]}
	}
	if !s.retired && to > from {
		e = e.Shared()
		s.parts[key] = e
	}
	return e, last
}
