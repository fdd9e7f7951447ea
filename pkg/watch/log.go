package watch

import (
	"slices"
	"sort"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// maxLogChanges limits the changes that are kept for watches that have not sent them yet. It limits the memory for slow watches,
	// whatever their number.
	maxLogChanges = 20_000
	// resumeOverlap is how far a resumed watch reaches back before its last event. Two servers see a change that the history does not
	// record at slightly different times.
	resumeOverlap = 10 * time.Second
)

// event is a set of changes that watches send together. All watches share it, and watches of one region share its part for the
// region.
type event struct {
	service.WatchEvent
	previousRegions []string // for each change, the region of the controller before it
	changesBefore   uint64   // the number of changes before the event
	highestID       int64    // the highest id of a transition up to and including the event
	loadVersion     uint64   // before the event

	mu        sync.Mutex
	byRegion  map[string]service.WatchEvent
	noIDEvent service.WatchEvent
}

// withoutID returns the event for watches that cannot resume from its id yet.
func (e *event) withoutID() service.WatchEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.noIDEvent.Changes == nil {
		e.noIDEvent = service.WatchEvent{AsOf: e.AsOf, Changes: e.Changes}.WithEncodingCache()
	}
	return e.noIDEvent
}

// forRegion returns the event with the changes for watches of a region, which may be none. An empty region stands for all.
func (e *event) forRegion(region string) service.WatchEvent {
	if region == "" {
		return e.WatchEvent
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if filtered, ok := e.byRegion[region]; ok {
		return filtered
	}

	filtered := service.WatchEvent{ID: e.ID, Fingerprint: e.Fingerprint, AsOf: e.AsOf}
	for i := range e.Changes {
		if c, ok := changeForRegion(region, e.change(i)); ok {
			filtered.Changes = append(filtered.Changes, c)
		}
	}
	if len(filtered.Changes) == 0 {
		return filtered
	}

	filtered = filtered.WithEncodingCache()
	if e.byRegion == nil {
		e.byRegion = make(map[string]service.WatchEvent)
	}
	e.byRegion[region] = filtered
	return filtered
}

// change returns one of the event's changes.
func (e *event) change(index int) change {
	return change{WatchChange: e.Changes[index], previousRegion: e.previousRegions[index]}
}

// changeForRegion returns a change for watches of a region, and reports whether they send it. For them, a controller that moved to
// another region is removed. An empty region stands for all.
func changeForRegion(region string, c change) (service.WatchChange, bool) {
	switch {
	case region == "":
		return c.WatchChange, true
	case c.Controller != nil && c.Controller.Region == region:
		return c.WatchChange, true
	case c.previousRegion == region || c.Transition != nil && c.Transition.Region == region:
		c.Controller = nil
		return c.WatchChange, true
	default:
		return service.WatchChange{}, false
	}
}

// eventLog has the last events. Events are numbered from 0, and a watch holds the number of its next one. A copy of the log does not
// change: append writes behind the events of copies, and dropOld drops events from the new log only.
type eventLog struct {
	events       []*event
	first        uint64 // the number of the first event
	changes      int    // the number of changes in events
	totalChanges uint64 // the number of changes so far
	// completeAfter is an id: the log has all transitions above it that were seen.
	completeAfter int64

	// Events before firstLive were read from the history. Later events were seen when they happened, with the changes that the history
	// does not record.
	firstLive uint64
	// startID and startAsOf are the id and the store's time before the first live event in the log.
	startID   int64
	startAsOf time.Time
}

// end is the number of the next event.
func (l *eventLog) end() uint64 { return l.first + uint64(len(l.events)) }

func (l *eventLog) at(number uint64) *event { return l.events[number-l.first] }

// append adds a live event, and drops old events if there are too many changes.
func (l *eventLog) append(e *event) {
	e.WatchEvent = e.WithEncodingCache()
	e.changesBefore = l.totalChanges
	e.highestID = l.highestIDWith(e)

	l.events = append(l.events, e)
	l.changes += len(e.Changes)
	l.totalChanges += uint64(len(e.Changes))
	l.dropOld()
}

// highestIDWith returns the highest id of a transition in the log and the event.
func (l *eventLog) highestIDWith(e *event) int64 {
	highest := l.completeAfter
	if n := len(l.events); n > 0 {
		highest = l.events[n-1].highestID
	}
	for _, c := range e.Changes {
		if c.Transition != nil {
			highest = max(highest, c.Transition.ID)
		}
	}
	return highest
}

// dropOld drops the oldest events until the log has at most maxLogChanges changes, or one event.
func (l *eventLog) dropOld() {
	n := 0
	for ; l.changes > maxLogChanges && n < len(l.events)-1; n++ {
		dropped := l.events[n]
		l.changes -= len(dropped.Changes)
		l.completeAfter = dropped.highestID
		if l.first+uint64(n) >= l.firstLive {
			l.startID = dropped.ID
			l.startAsOf = dropped.AsOf
		}
	}
	l.events = l.events[n:]
	l.first += uint64(n)
	l.firstLive = max(l.firstLive, l.first)
}

// appendHistory starts the log with transitions from before the first live event, in the order of their ids.
func (l *eventLog) appendHistory(transitions []service.Transition) {
	for part := range slices.Chunk(transitions, historyEventSize) {
		e := &event{previousRegions: make([]string, len(part))}
		for i := range part {
			e.Changes = append(e.Changes, service.WatchChange{ControllerID: part[i].ControllerID, Transition: &part[i]})
		}
		l.append(e)
		l.firstLive = l.end()
	}
}

// firstLiveEventToResend returns the number of the first live event for a watch that resumes after id. That is resumeOverlap before the
// event with that id. isComplete reports whether the log still has all live events from there on.
func (l *eventLog) firstLiveEventToResend(id int64) (number uint64, isComplete bool) {
	if id <= l.startID {
		return 0, false
	}

	// The ids of events are in ascending order.
	live := l.events[l.firstLive-l.first:]
	reached := sort.Search(len(live), func(i int) bool { return live[i].ID >= id })
	if reached == len(live) {
		return 0, false
	}

	from := live[reached].AsOf.Add(-resumeOverlap)
	if l.startAsOf.After(from) {
		return 0, false
	}
	index := sort.Search(reached, func(i int) bool { return !live[i].AsOf.Before(from) })
	return l.firstLive + uint64(index), true //nolint:gosec // An index is not negative.
}

// firstEventWithTransitionAbove returns the number of the first event that has a transition with an id above id, live or not. It also
// returns the number of changes from that event on, without the event's transitions up to id.
func (l *eventLog) firstEventWithTransitionAbove(id int64) (number, changes uint64) {
	index := sort.Search(len(l.events), func(i int) bool { return l.events[i].highestID > id })
	if index == len(l.events) {
		return l.end(), 0
	}

	changes = l.totalChanges - l.events[index].changesBefore
	for _, c := range l.events[index].Changes {
		if c.Transition != nil && c.Transition.ID <= id {
			changes--
		}
	}
	return l.first + uint64(index), changes //nolint:gosec // An index is not negative.
}
