package watch

import (
	"slices"
	"sync"

	"darktower.example/global-controller/service"
)

// maxFingerprints is more than the number of changes in the log. So for each cursor from which a watch can resume, the hub can
// detect that the change with its id belongs to another history.
const maxFingerprints = maxLogChanges + 2*initialHistory

// fingerprints has the fingerprints of the last changes of one history. It is safe for concurrent use.
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

// cursorAfter returns the cursor after the change with the id, without a fingerprint if the change is unknown.
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

// continuesHistory reports whether a page continues the history of the state: the page has the newest change that was seen, with the
// same fingerprint. The page has that change for this check only, so continuesHistory removes it.
func (st *state) continuesHistory(page *service.ChangePage) bool {
	newest := st.fingerprints.cursorAfter(st.seen.highest)
	if newest.Fingerprint == "" {
		return page.Newest >= newest.ID
	}

	index := slices.IndexFunc(page.Transitions, func(t service.Transition) bool { return t.ID == newest.ID })
	if index < 0 || page.Transitions[index].Cursor() != newest {
		return false
	}
	page.Transitions = slices.Delete(page.Transitions, index, index+1)
	return true
}
