package watch

import (
	"slices"
	"sync"

	"darktower.example/global-controller/service"
)

// keptPrints is of how many changes the fingerprints are kept: more than the log has, so that whatever a reader can go on
// from can be told from the change of another history that has the same id.
const keptPrints = keptEntries + 2*lookBack

// prints has the fingerprints of the last changes of one history. It is safe for concurrent use.
type prints struct {
	mu   sync.Mutex
	byID map[int64]string
	// order has the ids as they came, from next on in a ring once there are as many as are kept.
	order []int64
	next  int
}

func newPrints(transitions []service.Transition) *prints {
	p := &prints{byID: make(map[int64]string, len(transitions))}
	for _, t := range transitions {
		p.add(t)
	}
	return p
}

func (p *prints) add(t service.Transition) {
	fingerprint := t.Fingerprint()

	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.byID[t.ID]; ok {
		return
	}
	p.byID[t.ID] = fingerprint
	if len(p.order) < keptPrints {
		p.order = append(p.order, t.ID)
		return
	}
	delete(p.byID, p.order[p.next])
	p.order[p.next] = t.ID
	p.next = (p.next + 1) % keptPrints
}

// cursor returns the place behind the change with an id; without a fingerprint where that is not known.
func (p *prints) cursor(id int64) service.Cursor {
	if p == nil {
		return service.Cursor{ID: id}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return service.Cursor{ID: id, Fingerprint: p.byID[id]}
}

// isOf reports whether a cursor is one of this history. A bare number cannot be told.
func (p *prints) isOf(c service.Cursor) bool { return c.Fingerprint == "" || p.cursor(c.ID) == c }

// mark sets where to go on from after an event.
func mark(e *service.WatchEvent, c service.Cursor) { e.ID, e.Fingerprint = c.ID, c.Fingerprint }

// goesOn reports whether what was read of the history continues what is known of it: the newest change that was seen is
// still there, and the same. It is read again with each page, and removed from it.
func (st *state) goesOn(page *service.ChangePage) bool {
	newest := st.prints.cursor(st.seen.highest)
	if newest.Fingerprint == "" {
		return page.Newest >= newest.ID
	}
	at := slices.IndexFunc(page.Transitions, func(t service.Transition) bool { return t.ID == newest.ID })
	if at < 0 || page.Transitions[at].Cursor() != newest {
		return false
	}
	page.Transitions = slices.Delete(page.Transitions, at, at+1)
	return true
}
