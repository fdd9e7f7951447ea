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
// controllers that this replica creates in the meantime. A subject can therefore exceed its limit by at most the number of
// controllers that the other replicas create for it within one second and the time of one count.
type owners struct {
	most  int // 0: unlimited.
	count func(ctx context.Context, subject string) (int, error)
	now   func() time.Time

	mu   sync.Mutex
	held *lru.Cache[string, *ownerCount]
}

// ownerCount is the count of one subject; the lock of ownerCounts guards it.
type ownerCount struct {
	counted int
	created int // By this replica, since the count was read.
	at      time.Time
	reading chan struct{} // Closed when the read in progress ends; nil if there is none.
}

func newOwners(most int, count func(context.Context, string) (int, error), now func() time.Time) *owners {
	held, _ := lru.New[string, *ownerCount](rememberedAllowances) // It fails for a size of 0 only.
	return &owners{most: most, count: count, now: now, held: held}
}

// checkLimit returns [service.OwnerLimitError] if the subject owns as many controllers as it may. It waits for the first read of a
// subject's count; later reads run in the background. A read that fails refuses nothing.
func (o *owners) checkLimit(ctx context.Context, subject string) error {
	if o.most == 0 {
		return nil
	}

	count, reading := o.current(subject)
	if count < 0 {
		select {
		case <-reading:
			count, _ = o.current(subject)
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	if count >= o.most {
		return &service.OwnerLimitError{Owned: count, Limit: o.most}
	}
	return nil
}

// currentCount returns the number of controllers that the subject owns, and starts a read if the last one is too old. If no read
// has ended yet, it returns -1 and a channel that is closed when the read ends.
func (o *owners) current(subject string) (count int, reading <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()

	entry, ok := o.held.Get(subject)
	if !ok {
		entry = &ownerCount{}
		o.held.Add(subject, entry)
	}

	if age := o.now().Sub(entry.at); entry.reading == nil && (age >= countLifetime || age < 0) {
		entry.reading = make(chan struct{})
		go o.readCount(subject, entry)
	}
	if entry.at.IsZero() {
		return -1, entry.reading
	}
	return entry.counted + entry.created, nil
}

// readCount reads the count from the store. Controllers that are created meanwhile stay in created.
func (o *owners) readCount(subject string, entry *ownerCount) {
	o.mu.Lock()
	createdBefore := entry.created
	o.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counted, err := o.count(ctx, subject)

	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		entry.counted = counted
		entry.created -= createdBefore
	}
	entry.at = o.now()
	close(entry.reading)
	entry.reading = nil
}

// addCreated counts a controller that was created.
func (o *owners) add(subject string) {
	if o.most == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if entry, ok := o.held.Get(subject); ok {
		entry.created++
	}
}
