package watch

import (
	"slices"
	"sort"
	"sync"
	"time"

	"darktower.example/global-controller/service"
)

const (
	// keptEntries is how many changes and loads are kept for readers who have not come to them yet: the bound of what
	// slow readers cost, however many they are.
	keptEntries = 20_000
	// resumeSlack is how much earlier a resumed watch begins than where it ended. Servers see what the history does not
	// tell a little apart.
	resumeSlack = 10 * time.Second
)

// event is what readers are told at one time. All share it, and those of one region share what they see of it.
type event struct {
	service.WatchEvent
	// regions are those of the loads' controllers, and those that changed controllers were in before.
	regions []string

	mu       sync.Mutex
	filtered map[string]service.WatchEvent
}

func (e *event) entries() int { return len(e.Changes) + len(e.Loads) }

// in returns what concerns a region, and whether anything does.
func (e *event) in(region string) (service.WatchEvent, bool) {
	if region == "" {
		return e.WatchEvent, true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if seen, ok := e.filtered[region]; ok {
		return seen, true
	}
	seen := service.WatchEvent{ID: e.ID, AsOf: e.AsOf}
	for i, c := range e.Changes {
		if c, ok := changeIn(region, change{c, e.regions[i]}); ok {
			seen.Changes = append(seen.Changes, c)
		}
	}
	for i, l := range e.Loads {
		if e.regions[i] == region {
			seen.Loads = append(seen.Loads, l)
		}
	}
	if len(seen.Changes)+len(seen.Loads) == 0 {
		return seen, false
	}
	if e.filtered == nil {
		e.filtered = make(map[string]service.WatchEvent)
	}
	seen = seen.Shared()
	e.filtered[region] = seen
	return seen, true
}

// changeIn is a change as those see it who watch one region: a controller that has gone to another has left.
func changeIn(region string, c change) (service.WatchChange, bool) {
	switch {
	case c.Controller != nil && c.Controller.Region == region:
		return c.WatchChange, true
	case c.was == region || c.Transition != nil && c.Transition.Region == region:
		c.Controller = nil
		return c.WatchChange, true
	default:
		return service.WatchChange{}, false
	}
}

// eventLog has the last events, numbered from 0. Readers only know the number of their next one.
type eventLog struct {
	events  []*event
	first   uint64 // the number of the first that is kept
	entries int
	// startID and startAsOf are of the time before the first that is kept.
	startID   int64
	startAsOf time.Time
}

// end is the number of the next event.
func (l *eventLog) end() uint64 { return l.first + uint64(len(l.events)) }

func (l *eventLog) at(number uint64) *event { return l.events[number-l.first] }

func (l *eventLog) append(e *event) {
	e.WatchEvent = e.Shared()
	l.events = append(l.events, e)
	l.entries += e.entries()
	n := 0
	for ; l.entries > keptEntries && n < len(l.events)-1; n++ {
		l.entries -= l.events[n].entries()
		l.startID, l.startAsOf = l.events[n].ID, l.events[n].AsOf
	}
	l.events, l.first = slices.Delete(l.events, 0, n), l.first+uint64(n)
}

// since returns the events that somebody may have missed who has seen everything up to the change with the id, and
// whether they are all there.
func (l *eventLog) since(id int64) ([]*event, bool) {
	if id <= l.startID {
		return nil, false
	}
	// Ids never fall.
	reached := sort.Search(len(l.events), func(i int) bool { return l.events[i].ID >= id })
	if reached == len(l.events) {
		return nil, false
	}
	from := l.events[reached].AsOf.Add(-resumeSlack)
	if l.startAsOf.After(from) {
		return nil, false
	}
	return l.events[sort.Search(reached, func(i int) bool { return !l.events[i].AsOf.Before(from) }):], true
}
