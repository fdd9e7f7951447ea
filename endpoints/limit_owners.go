package endpoints

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"darktower.example/global-controller/service"
)

const (
	// countLifetime is how long a count of a subject's controllers is used before the next registration renews it.
	countLifetime = time.Second
	// countTimeout limits one count, so that a registration that waits for it keeps most of its own time.
	countTimeout = 2 * time.Second
)

// ownerCounts counts the controllers of each subject. It reads a subject's count from the store at most once a second, and adds the
// controllers that this replica creates in the meantime. A subject can therefore exceed its limit. The excess is at most the
// number of controllers that other replicas create for it within one second and the time of one count.
type ownerCounts struct {
	limit         int // 0: unlimited.
	readFromStore func(ctx context.Context, subject string) (int, error)
	now           func() time.Time

	mu     sync.Mutex
	counts *lru.Cache[string, *ownerCount]
}

// ownerCount is the count of one subject; the lock of ownerCounts guards it.
type ownerCount struct {
	counted  int
	created  int // By this replica, since the count was read.
	at       time.Time
	readDone chan struct{} // Closed when the read in progress ends; nil if there is none.
}

func newOwnerCounts(limit int, readFromStore func(context.Context, string) (int, error), now func() time.Time) *ownerCounts {
	counts, _ := lru.New[string, *ownerCount](maxBuckets) // New fails for a size of 0 only.
	return &ownerCounts{limit: limit, readFromStore: readFromStore, now: now, counts: counts}
}

// checkLimit returns [service.OwnerLimitError] if the subject has reached its limit of controllers. It waits for the first read of a
// subject's count; later reads run in the background. A read that fails refuses nothing.
func (o *ownerCounts) checkLimit(ctx context.Context, subject string) error {
	if o.limit == 0 {
		return nil
	}

	count, reading := o.currentCount(subject)
	if count < 0 {
		select {
		case <-reading:
			count, _ = o.currentCount(subject)
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	if count >= o.limit {
		return &service.OwnerLimitError{Owned: count, Limit: o.limit}
	}
	return nil
}

// currentCount returns the number of controllers that the subject owns, and starts a read if the last one is too old. If no read
// has ended yet, it returns -1 and a channel that is closed when the read ends.
func (o *ownerCounts) currentCount(subject string) (count int, reading <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()

	entry, ok := o.counts.Get(subject)
	if !ok {
		entry = &ownerCount{}
		o.counts.Add(subject, entry)
	}

	if age := o.now().Sub(entry.at); entry.readDone == nil && (age >= countLifetime || age < 0) {
		entry.readDone = make(chan struct{})
		go o.readCount(subject, entry)
	}
	if entry.at.IsZero() {
		return -1, entry.readDone
	}
	return entry.counted + entry.created, nil
}

// readCount reads the count from the store. Controllers that are created meanwhile stay in created.
func (o *ownerCounts) readCount(subject string, entry *ownerCount) {
	o.mu.Lock()
	createdBefore := entry.created
	o.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counted, err := o.readFromStore(ctx, subject)

	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		entry.counted = counted
		entry.created -= createdBefore
	}
	entry.at = o.now()
	close(entry.readDone)
	entry.readDone = nil
}

// addCreated counts a controller that was created.
func (o *ownerCounts) addCreated(subject string) {
	if o.limit == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if entry, ok := o.counts.Get(subject); ok {
		entry.created++
	}
}
