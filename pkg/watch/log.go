package watch

import (
	"slices"
	"sort"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// keptEntries is how many changes are kept for readers that have not read them yet: the bound of what slow readers
	// cost, however many they are.
	maxLogChanges = 20_000
	// resumeSlack is how much earlier a resumed watch begins than where it ended. Servers see what the history does not
	// tell a little apart.
	resumeOverlap = 10 * time.Second
)

// event is what readers are sent at one time. All readers share it, and those of one region share its part for that region.
type event struct {
	service.WatchEvent
	// regions are those that the controllers were in before.
	previousRegions []string
	// before is how many changes came before it; highestID is the highest id of a change up to and including it.
	changesBefore uint64
	highestID     int64
	// loads is the number of the last reading that changed loads before it.
	loadVersion uint64

	mu        sync.Mutex
	filtered  map[string]service.WatchEvent
	noIDEvent service.WatchEvent
}

// withoutID returns the event for readers that cannot resume from its id yet.
func (e *event) withoutID() service.WatchEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.noIDEvent.Changes == nil {
		e.noIDEvent = service.WatchEvent{AsOf: e.AsOf, Changes: e.Changes}.Shared()
	}
	return e.noIDEvent
}

// in returns what concerns a region, and whether anything does.
func (e *event) forRegion(region string) (service.WatchEvent, bool) {
	if region == "" {
		return e.WatchEvent, true
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if seen, ok := e.filtered[region]; ok {
		return seen, true
	}

	seen := service.WatchEvent{ID: e.ID, Fingerprint: e.Fingerprint, AsOf: e.AsOf}
	for i, c := range e.Changes {
		if c, ok := changeForRegion(region, change{c, e.previousRegions[i]}); ok {
			seen.Changes = append(seen.Changes, c)
		}
	}
	if len(seen.Changes) == 0 {
		return seen, false
	}
	if e.filtered == nil {
		e.filtered = make(map[string]service.WatchEvent)
	}
	seen = seen.Shared()
	e.filtered[region] = seen
	return seen, true
}

// changeIn returns a change as a watch of one region shows it: a controller that moved to another region is removed.
func changeForRegion(region string, c change) (service.WatchChange, bool) {
	switch {
	case c.Controller != nil && c.Controller.Region == region:
		return c.WatchChange, true
	case c.previousRegion == region || c.Transition != nil && c.Transition.Region == region:
		c.Controller = nil
		return c.WatchChange, true
	default:
		return service.WatchChange{}, false
	}
}

// eventLog has the last events, numbered from 0; readers hold the number of their next one. A copy of it is a view that
// stays as it is: append writes behind what copies show, and what is dropped is dropped from the new log only.
type eventLog struct {
	events       []*event
	first        uint64 // the number of the first that is kept
	changes      int
	totalChanges uint64 // how many changes there have been
	// from is the id above which every change of the history is in the log that has appeared.
	completeAfter int64
	// Events from the number live on were observed as they happened, with changes that the history does not record. Earlier
	// events were read from the history. startID and startAsOf are of the time before the first live event that is kept.
	firstLive uint64
	startID   int64
	startAsOf time.Time
}

// end is the number of the next event.
func (l *eventLog) end() uint64 { return l.first + uint64(len(l.events)) }

func (l *eventLog) at(number uint64) *event { return l.events[number-l.first] }

// append adds an event that was seen happening.
func (l *eventLog) append(e *event) {
	reach := l.completeAfter
	if n := len(l.events); n > 0 {
		reach = l.events[n-1].highestID
	}
	for _, c := range e.Changes {
		if c.Transition != nil {
			reach = max(reach, c.Transition.ID)
		}
	}
	e.WatchEvent, e.changesBefore, e.highestID = e.Shared(), l.totalChanges, reach
	l.events = append(l.events, e)
	l.changes += len(e.Changes)
	l.totalChanges += uint64(len(e.Changes))

	n := 0
	for ; l.changes > maxLogChanges && n < len(l.events)-1; n++ {
		dropped := l.events[n]
		l.changes -= len(dropped.Changes)
		l.completeAfter = dropped.highestID
		if l.first+uint64(n) >= l.firstLive {
			l.startID, l.startAsOf = dropped.ID, dropped.AsOf
		}
	}
	l.events, l.first = l.events[n:], l.first+uint64(n)
	l.firstLive = max(l.firstLive, l.first)
}

// appendHistory begins the log with changes that happened before anything was seen happening, in the order of their ids.
func (l *eventLog) appendHistory(transitions []service.Transition) {
	for some := range slices.Chunk(transitions, historyEventSize) {
		e := &event{previousRegions: make([]string, len(some))}
		for i := range some {
			e.Changes = append(e.Changes, service.WatchChange{ControllerID: some[i].ControllerID, Transition: &some[i]})
		}
		l.append(e)
		l.firstLive = l.end()
	}
}

// since returns the number of the first event that a reader which has seen everything up to id may have missed. ok reports
// whether the log still has all of them, with the changes that the history does not record.
func (l *eventLog) eventSince(id int64) (number uint64, ok bool) {
	if id <= l.startID {
		return 0, false
	}

	// Ids never fall.
	events := l.events[l.firstLive-l.first:]
	reached := sort.Search(len(events), func(i int) bool { return events[i].ID >= id })
	if reached == len(events) {
		return 0, false
	}
	from := events[reached].AsOf.Add(-resumeOverlap)
	if l.startAsOf.After(from) {
		return 0, false
	}
	at := sort.Search(reached, func(i int) bool { return !events[i].AsOf.Before(from) })
	return l.firstLive + uint64(at), true //nolint:gosec // An index is not negative.
}

// after returns the number of the first event with a change of the history above the id, and how many changes there are
// from that change on.
func (l *eventLog) eventAfter(id int64) (number, changes uint64) {
	at := sort.Search(len(l.events), func(i int) bool { return l.events[i].highestID > id })
	if at == len(l.events) {
		return l.end(), 0
	}

	changes = l.totalChanges - l.events[at].changesBefore
	for _, c := range l.events[at].Changes {
		if c.Transition != nil && c.Transition.ID <= id {
			changes--
		}
	}
	return l.first + uint64(at), changes //nolint:gosec // An index is not negative.
}
