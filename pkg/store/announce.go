package store

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"darktower.example/global-controller/service"
)

const (
	// announceInterval is the minimum interval between announcements to other processes. The first is sent at once.
	announceInterval = 10 * time.Millisecond
	// maxAnnouncedIDs limits the controllers that an announcement names. Beyond it subscribers read the whole fleet.
	maxAnnouncedIDs = 256
)

// announcer announces commits: to the subscribers of this process at once, and to other processes by a goroutine that
// exists only while there is something to send. Announcements are not part of the transactions, because PostgreSQL commits
// transactions that notify one after the other, which would undo the group commit.
type announcer struct {
	// send sends to other processes; nil if there are none.
	send func(service.Announcement)
	// name identifies this store's announcements. A process may have several stores.
	name string

	mu          sync.Mutex
	subscribers map[int]func(service.Announcement)
	nextID      int
	pending     service.Announcement
	hasPending  bool
	isSending   bool
}

func newAnnouncer() *announcer {
	return &announcer{name: uuid.NewString(), subscribers: make(map[int]func(service.Announcement))}
}

// announceTransitions announces that transitions were recorded; the history names the controllers.
func (a *announcer) announceTransitions() { a.announce(service.Announcement{}) }

// announceControllers announces that controllers changed without a transition.
func (a *announcer) announceControllers(ids []string) {
	a.announce(service.Announcement{ControllerIDs: ids})
}

// announceOutcome announces the outcome of an operation on a controller, unless it failed.
func (a *announcer) announceOutcome(id string, transition *service.Transition, err error) {
	switch {
	case err != nil:
	case transition != nil:
		a.announceTransitions()
	default:
		a.announceControllers([]string{id})
	}
}

func (a *announcer) announce(announcement service.Announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.deliverLocked(announcement)
	if a.send == nil {
		return
	}

	a.hasPending = true
	a.pending.Merge(announcement, maxAnnouncedIDs)

	if !a.isSending {
		a.isSending = true
		go a.sendPending()
	}
}

// deliver calls the subscribers of this process.
func (a *announcer) deliver(announcement service.Announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deliverLocked(announcement)
}

func (a *announcer) deliverLocked(announcement service.Announcement) {
	for _, deliver := range a.subscribers {
		deliver(announcement)
	}
}

// subscribe calls deliver for each announcement until unsubscribe is called.
func (a *announcer) subscribe(deliver func(service.Announcement)) (unsubscribe func()) {
	a.mu.Lock()
	defer a.mu.Unlock()

	id := a.nextID
	a.nextID++
	a.subscribers[id] = deliver
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.subscribers, id)
	}
}

// sendPending sends pending announcements to other processes until there are none.
func (a *announcer) sendPending() {
	for {
		a.mu.Lock()
		if !a.hasPending {
			a.isSending = false
			a.mu.Unlock()
			return
		}
		announcement := a.pending
		a.pending, a.hasPending = service.Announcement{}, false
		a.mu.Unlock()

		began := time.Now()
		a.send(announcement)
		if left := announceInterval - time.Since(began); left > 0 {
			time.Sleep(left)
		}
	}
}
