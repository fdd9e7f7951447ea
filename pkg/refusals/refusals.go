// Package refusals records which controllers were refused recently, to explain why they are stale.
package refusals

import (
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// maxControllers bounds the memory. The controller whose last refusal is the oldest is forgotten first.
	maxControllers = 8192
	// maxTimes is how many refusals of a controller are kept separately.
	maxTimes = 16
)

// Memory remembers refusals. Its methods may be called at the same time.
type Memory struct {
	mu          sync.Mutex
	controllers *lru.Cache[string, *record]
	now         func() time.Duration
}

// record holds the times of the last refusals of one controller, the newest overwriting the oldest.
type record struct {
	times  [maxTimes]time.Duration
	total  int
	reason string
}

// New returns an empty memory.
func New() (*Memory, error) {
	controllers, err := lru.New[string, *record](maxControllers)
	if err != nil {
		return nil, fmt.Errorf("make memory of refusals: %w", err)
	}
	began := time.Now()
	return &Memory{controllers: controllers, now: func() time.Duration { return time.Since(began) }}, nil
}

// Add records that a call in the name of a controller was refused.
func (m *Memory) Add(controllerID, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()

	r, ok := m.controllers.Get(controllerID)
	if !ok {
		r = &record{}
		m.controllers.Add(controllerID, r)
	}
	r.times[r.total%maxTimes], r.reason = m.now(), reason
	r.total++
}

// Within returns how often calls in the name of a controller were refused within a time until now, 16 at most, and why the
// last one was.
func (m *Memory) Within(controllerID string, within time.Duration) (count int, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()

	r, ok := m.controllers.Peek(controllerID)
	if !ok {
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

// Explain describes the refusals within a time, for the reason of a change: empty when there were none.
func (m *Memory) Explain(controllerID string, within time.Duration) string {
	count, reason := m.Within(controllerID, within)
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

// ExplainAll describes the refusals within a time until now, by the controllers' ids.
func (m *Memory) ExplainAll(within time.Duration) map[string]string {
	m.mu.Lock()
	ids := m.controllers.Keys()
	m.mu.Unlock()

	explained := make(map[string]string)
	for _, id := range ids {
		if words := m.Explain(id, within); words != "" {
			explained[id] = words
		}
	}
	return explained
}

// Controllers returns how many controllers were refused for a reason within a time until now.
func (m *Memory) Controllers(reason string, within time.Duration) (count int) {
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
