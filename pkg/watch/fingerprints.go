package watch

import (
	"sync"

	"darktower.example/global-controller/service"
)

// maxFingerprints is more than the number of transitions in the log. So for each cursor from which a watch can resume, the hub can
// detect that the transition with its id belongs to another history.
const maxFingerprints = maxLogChanges + 2*initialHistory

// fingerprints has the fingerprints of the last transitions of one history. It is safe for concurrent use.
type fingerprints struct {
	mu   sync.Mutex
	byID map[int64]string
	// order has the ids in the order of arrival. When it is full, it is a ring that starts at next.
	order []int64
	next  int
}

func newFingerprints(transitions []service.Transition) *fingerprints {
	p := &fingerprints{byID: make(map[int64]string, len(transitions))}
	for _, t := range transitions {
		p.add(t)
	}
	return p
}

func (p *fingerprints) add(t service.Transition) {
	fingerprint := t.Fingerprint()

	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.byID[t.ID]; ok {
		return
	}
	p.byID[t.ID] = fingerprint
	if len(p.order) < maxFingerprints {
		p.order = append(p.order, t.ID)
		return
	}

	delete(p.byID, p.order[p.next])
	p.order[p.next] = t.ID
	p.next = (p.next + 1) % maxFingerprints
}

// cursorAfter returns the cursor after the transition with the id, without a fingerprint if the transition is unknown.
func (p *fingerprints) cursorAfter(id int64) service.Cursor {
	if p == nil {
		return service.Cursor{ID: id}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return service.Cursor{ID: id, Fingerprint: p.byID[id]}
}

// hasCursor reports whether a cursor belongs to this history. An id without a fingerprint always does.
func (p *fingerprints) hasCursor(c service.Cursor) bool {
	return c.Fingerprint == "" || p.cursorAfter(c.ID) == c
}

// setCursor sets the cursor from which a watch resumes after an event.
func setCursor(e *service.WatchEvent, c service.Cursor) { e.ID, e.Fingerprint = c.ID, c.Fingerprint }
