package watch

import (
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// keptParts is how many parts of the fleet, replays and loads are kept for the next reader that needs them, with what
	// they are encoded to; keptPartsFor how long those are kept that no reader needs.
	maxRecentParts = 500
	partLifetime   = 2 * time.Second
)

// partKey identifies a part of a view that several readers may need.
type partKey struct {
	view         *view
	region       string
	kind         partKind
	reason       string // of a snapshot
	number       uint64 // of a part, an event or a reading of loads
	skipThrough  int64  // a replay leaves out changes of the history up to this id
	after        string // the id after which loads begin
	chunk        *chunk
	isIncomplete bool // More follows before there is an id to resume from.
}

type partKind byte

const (
	snapshotPart partKind = iota
	replayPart
	loadsPart
	fleetPassPart
)

// part is the part of a key, and the position of a reader after it.
type part struct {
	event service.WatchEvent
	last  bool
	next  uint64
	after string
}

// parts caches the parts that readers needed lately. A part that was not needed since the last turn but one is dropped.
type parts struct {
	mu              sync.Mutex
	recent, earlier map[partKey]part
	rotatedAt       time.Time
}

// get returns the part of a key from the cache, or makes it.
func (p *parts) get(key partKey, now time.Time, make func() part) part {
	p.mu.Lock()
	found, ok := p.recent[key]
	if !ok {
		found, ok = p.earlier[key]
	}
	p.mu.Unlock()

	if !ok {
		found = make()
		found.event = found.event.Shared()
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.rotateLocked(now)
	if other, ok := p.recent[key]; ok {
		return other // Another reader was faster.
	}
	p.recent[key] = found
	return found
}

func (p *parts) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent, p.earlier = nil, nil
}

// turn drops parts that were not needed for a while.
func (p *parts) dropUnused(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rotateLocked(now)
}

func (p *parts) rotateLocked(now time.Time) {
	if p.recent == nil || len(p.recent) >= maxRecentParts || now.Sub(p.rotatedAt) >= partLifetime {
		p.recent, p.earlier, p.rotatedAt = make(map[partKey]part), p.recent, now
	}
}

// sharedView is the view that readers begin with.
type sharedView struct {
	mu       sync.Mutex
	view     *view
	chosenAt time.Time
}

// choose returns a view to begin with that shows at least what comes before the event and up to the change. It is v, or
// one that is a little older and that other readers have begun with.
func (s *sharedView) chooseView(v *view, now time.Time, next uint64, id int64) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.view; old != nil && old.epoch == v.epoch && old.log.end() >= max(next, v.log.first) && old.highestID >= id {
		if age := now.Sub(s.chosenAt); age < shareTime || age < shareTimeInUse && old.activeWatches.Load() > 0 {
			return old
		}
	}
	s.view, s.chosenAt = v, now
	return v
}

// forget drops the view, unless readers may begin with it.
func (s *sharedView) dropExpired(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view != nil && now.Sub(s.chosenAt) >= shareTimeInUse {
		s.view = nil
	}
}
