// Package refusals records recent refusals by controller, so that the reason of a staleness mark can name them.
package refusals

import (
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// maxControllers limits the memory. The controller whose last refusal is the oldest is removed first.
	maxControllers = 8192
	// maxTimes is the number of refusals of a controller whose times are kept.
	maxTimes = 16
)

// Memory stores recent refusals. Its methods are safe for concurrent use.
type Memory struct {
	mu          sync.Mutex
	controllers *lru.Cache[string, *record]
	now         func() time.Duration
}

// record has the last refusals of one controller.
type record struct {
	times  [maxTimes]time.Duration // ring buffer: refusal n is at n % maxTimes
	total  int
	reason string // of the last refusal
}

// New returns an empty memory.
func New() (*Memory, error) {
	controllers, err := lru.New[string, *record](maxControllers)
	if err != nil {
		return nil, fmt.Errorf("create cache of refusals: %w", err)
	}
	began := time.Now()
	return &Memory{controllers: controllers, now: func() time.Duration { return time.Since(began) }}, nil
}

// Add records that a call in the name of a controller was refused, and why.
func (m *Memory) Add(controllerID, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()

	r, isKnown := m.controllers.Get(controllerID)
	if !isKnown {
		r = &record{}
		m.controllers.Add(controllerID, r)
	}

	r.times[r.total%maxTimes] = m.now()
	r.reason = reason
	r.total++
}

// CountWithin returns the number of refusals of a controller during the last period within, at most 16, and the reason of the last one.
func (m *Memory) CountWithin(controllerID string, within time.Duration) (count int, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()

	r, isKnown := m.controllers.Peek(controllerID)
	if !isKnown {
		return 0, ""
	}
	return r.count(m.now() - within), r.reason
}

func (r *record) count(since time.Duration) (count int) {
	for _, at := range r.times[:min(r.total, maxTimes)] {
		if at >= since {
			count++
		}
	}
	return count
}

// Describe describes the refusals of a controller during the last period within, for the reason of a transition. The description is empty
// if there were none.
func (m *Memory) Describe(controllerID string, within time.Duration) string {
	count, reason := m.CountWithin(controllerID, within)
	switch count {
	case 0:
		return ""
	case 1:
		return "1 call in its name was refused meanwhile: " + reason
	case maxTimes:
		return fmt.Sprintf("%d calls or more in its name were refused meanwhile: %s", count, reason)
	default:
		return fmt.Sprintf("%d calls in its name were refused meanwhile: %s", count, reason)
	}
}

// DescribeAll describes the refusals of all controllers during the last period within, by controller id.
func (m *Memory) DescribeAll(within time.Duration) map[string]string {
	m.mu.Lock()
	ids := m.controllers.Keys()
	m.mu.Unlock()

	descriptions := make(map[string]string)
	for _, id := range ids {
		if description := m.Describe(id, within); description != "" {
			descriptions[id] = description
		}
	}
	return descriptions
}

// CountControllers returns the number of controllers that were refused during the last period within, and whose last refusal had this
// reason.
func (m *Memory) CountControllers(reason string, within time.Duration) (count int) {
	m.mu.Lock()
	defer m.mu.Unlock()

	since := m.now() - within
	for _, r := range m.controllers.Values() {
		if r.reason == reason && r.count(since) > 0 {
			count++
		}
	}
	return count
}
