package watch

import (
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// maxRecentParts limits the parts of snapshots, replays and loads that are kept, with their encodings, for the next watch that
	// sends them.
	maxRecentParts = 500
	// partLifetime is the minimum time for which a part is kept that no watch sends.
	partLifetime = 2 * time.Second
)

// partKey identifies a part of a view that several watches may send.
type partKey struct {
	kind           partKind
	view           *view
	region         string
	snapshotReason string
	number         uint64 // of a part, an event or a load version
	skipThrough    int64  // A replay has no transitions up to this id.
	after          string // the id after which loads begin
	chunk          *chunk
	isIncomplete   bool // More parts follow before there is an id to resume from.
}

type partKind byte

const (
	snapshotPart partKind = iota
	replayPart
	loadsPart
	fleetPassPart
)

// part is the part of a key, and the position of a watch after it.
type part struct {
	event     service.WatchEvent
	isLast    bool
	nextEvent uint64
	after     string
}

// parts is a cache of the parts that watches have sent recently. It has two generations, and a part that was not sent during two
// rotations is dropped.
type parts struct {
	mu              sync.Mutex
	recent, earlier map[partKey]part
	rotatedAt       time.Time
}

// get returns the part of a key from the cache, or makes it.
func (p *parts) get(key partKey, now time.Time, makePart func() part) part {
	p.mu.Lock()
	found, ok := p.recent[key]
	if !ok {
		found, ok = p.earlier[key]
	}
	p.mu.Unlock()

	if !ok {
		found = makePart()
		found.event = found.event.WithEncodingCache()
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.rotateLocked(now)
	if other, ok := p.recent[key]; ok {
		return other // Another watch has made the part in the meantime.
	}
	p.recent[key] = found
	return found
}

func (p *parts) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent, p.earlier = nil, nil
}

// dropUnused drops parts that no watch has sent for some time.
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

// sharedView is the view with which watches begin.
type sharedView struct {
	mu       sync.Mutex
	view     *view
	chosenAt time.Time
}

// chooseView returns a view to begin with, which has at least the events before nextEvent and the transitions up to id. The result
// is v, or a slightly older view with which other watches have begun.
func (s *sharedView) chooseView(v *view, now time.Time, nextEvent uint64, id int64) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.view; old != nil && old.isUsableInsteadOf(v, nextEvent, id) {
		age := now.Sub(s.chosenAt)
		if age < shareTime || age < shareTimeInUse && old.activeWatches.Load() > 0 {
			return old
		}
	}
	s.view, s.chosenAt = v, now
	return v
}

// isUsableInsteadOf reports whether a watch can begin with the view instead of the latest one. The watch needs the events before
// nextEvent and the transitions up to id.
func (v *view) isUsableInsteadOf(latest *view, nextEvent uint64, id int64) bool {
	return v.epoch == latest.epoch && v.log.end() >= max(nextEvent, latest.log.first) && v.highestID >= id
}

// dropExpired drops the view if it is too old to begin with.
func (s *sharedView) dropExpired(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view != nil && now.Sub(s.chosenAt) >= shareTimeInUse {
		s.view = nil
	}
}
