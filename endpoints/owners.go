package endpoints

import (
	"context"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"darktower.example/global-controller/service"
)

const (
	// countLifetime is how long a count of a subject's controllers is used before the next registration reads it again.
	countLifetime = time.Second
	// countTimeout limits one count, so that a registration that waits for it keeps most of its own time.
	countTimeout = 2 * time.Second
)

// owners counts how many controllers each subject owns. The count is read from the store at most once a second for each
// subject, and this replica adds what it creates meanwhile. A subject therefore exceeds its limit by at most what the
// other replicas create for it within one second, and within the time of one count.
type owners struct {
	most  int // 0: unlimited
	count func(ctx context.Context, subject string) (int, error)
	now   func() time.Time

	mu   sync.Mutex
	held *lru.Cache[string, *ownerCount]
}

// ownerCount is the count of one subject; the lock of owners guards it.
type ownerCount struct {
	counted int
	created int // By this replica, since the count began.
	at      time.Time
	reading chan struct{} // Closed when the count that is under way ends; nil: none is.
}

func newOwners(most int, count func(context.Context, string) (int, error), now func() time.Time) *owners {
	held, _ := lru.New[string, *ownerCount](rememberedAllowances) // It fails for a size of 0 only.
	return &owners{most: most, count: count, now: now, held: held}
}

// checkLimit returns [service.OwnerLimitError] if the subject owns as many controllers as it may. It waits for the first count
// of a subject; a later count runs in the background. A count that fails refuses nothing.
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

// current returns how many controllers the subject owns, and starts a count if the last one is too old. If no count has ended
// yet, it returns -1 and a channel that is closed when the count ends.
func (o *owners) current(subject string) (count int, reading <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()

	one, ok := o.held.Get(subject)
	if !ok {
		one = &ownerCount{}
		o.held.Add(subject, one)
	}
	if age := o.now().Sub(one.at); one.reading == nil && (age >= countLifetime || age < 0) {
		one.reading = make(chan struct{})
		go o.readCount(subject, one)
	}
	if one.at.IsZero() {
		return -1, one.reading
	}
	return one.counted + one.created, nil
}

func (o *owners) readCount(subject string, one *ownerCount) {
	o.mu.Lock()
	before := one.created
	o.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counted, err := o.count(ctx, subject)

	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		one.counted = counted
		one.created -= before
	}
	one.at = o.now()
	close(one.reading)
	one.reading = nil
}

// add notes a controller that was created.
func (o *owners) add(subject string) {
	if o.most == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if one, ok := o.held.Get(subject); ok {
		one.created++
	}
}
