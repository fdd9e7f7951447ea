// Package refusals records recent refusals by controller, so that the reason of a staleness mark can name them.
package refusals

import (
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	// maxControllers limits the size of the log. The controller whose last refusal is the oldest is removed first.
	maxControllers = 8192
	// maxTimes is the number of refusals of a controller whose times are kept.
	maxTimes = 16
)

// Log has the recent refusals of each controller. Its methods are safe for concurrent use.
type Log struct {
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

// New returns an empty log.
func New() (*Log, error) {
	controllers, err := lru.New[string, *record](maxControllers)
	if err != nil {
		return nil, fmt.Errorf("create cache of refusals: %w", err)
	}
	began := time.Now()
	return &Log{controllers: controllers, now: func() time.Duration { return time.Since(began) }}, nil
}

// Add records that a call in the name of a controller was refused, and why.
func (l *Log) Add(controllerID, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()

	r, isKnown := l.controllers.Get(controllerID)
	if !isKnown {
		r = &record{}
		l.controllers.Add(controllerID, r)
	}

	r.times[r.total%maxTimes] = l.now()
	r.reason = reason
	r.total++
}

// CountWithin returns the number of refusals of a controller during the last period within, at most 16, and the reason of the last one.
func (l *Log) CountWithin(controllerID string, within time.Duration) (count int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()

	r, isKnown := l.controllers.Peek(controllerID)
	if !isKnown {
		return 0, ""
	}
	return r.count(l.now() - within), r.reason
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
func (l *Log) Describe(controllerID string, within time.Duration) string {
	count, reason := l.CountWithin(controllerID, within)
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
func (l *Log) DescribeAll(within time.Duration) map[string]string {
	l.mu.Lock()
	ids := l.controllers.Keys()
	l.mu.Unlock()

	descriptions := make(map[string]string)
	for _, id := range ids {
		if description := l.Describe(id, within); description != "" {
			descriptions[id] = description
		}
	}
	return descriptions
}

// CountControllers returns the number of controllers that were refused during the last period within, and whose last refusal had this
// reason.
func (l *Log) CountControllers(reason string, within time.Duration) (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()

	since := l.now() - within
	for _, r := range l.controllers.Values() {
		if r.reason == reason && r.count(since) > 0 {
			count++
		}
	}
	return count
}
