package store

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"darktower.example/global-controller/service"
)

const (
	// announceEvery is how far apart what is sent to other processes is at the least. The first goes out at once.
	announceEvery = 10 * time.Millisecond
	// namedAtMost bounds how many controllers are named: with that many, those who listen had better read everything.
	namedAtMost = 256
)

// announcements passes on that something was committed: to this process at once, and to the others by a goroutine that
// exists only while there is something to send. No transaction waits for it: PostgreSQL lets those that notify commit
// only one after the other, which would undo the group commit.
type announcements struct {
	// send tells the other processes; nil where there are none.
	send func(service.Announcement)
	// name is how this store signs what it announces: one process may have several.
	name string

	mu      sync.Mutex
	heard   map[int]func(service.Announcement)
	next    int
	pending service.Announcement
	waiting bool // There is something to send.
	sending bool
}

func newAnnouncements() *announcements {
	return &announcements{name: uuid.NewString(), heard: make(map[int]func(service.Announcement))}
}

// changed announces that public state changed; the history tells whose.
func (a *announcements) changed() { a.announce(service.Announcement{}) }

// announceControllers announces that controllers changed in a way that the history does not say.
func (a *announcements) announceControllers(ids []string) {
	a.announce(service.Announcement{ControllerIDs: ids})
}

// after announces what was done about a controller, unless that failed or made a change that the history tells.
func (a *announcements) after(id string, transition *service.Transition, err error) {
	switch {
	case err != nil:
	case transition != nil:
		a.changed()
	default:
		a.announce(service.Announcement{ControllerIDs: []string{id}})
	}
}

func (a *announcements) announce(what service.Announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tellLocked(what)
	if a.send == nil {
		return
	}
	a.waiting = true
	switch {
	case what.Everything || len(a.pending.ControllerIDs)+len(what.ControllerIDs) > namedAtMost:
		a.pending = service.Announcement{Everything: true}
	case !a.pending.Everything:
		a.pending.ControllerIDs = append(a.pending.ControllerIDs, what.ControllerIDs...)
	}
	if !a.sending {
		a.sending = true
		go a.run()
	}
}

// tell passes on what another process announced.
func (a *announcements) tell(what service.Announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tellLocked(what)
}

func (a *announcements) tellLocked(what service.Announcement) {
	for _, heard := range a.heard {
		heard(what)
	}
}

// subscribe has heard told of everything until the returned function is called.
func (a *announcements) subscribe(heard func(service.Announcement)) (unsubscribe func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := a.next
	a.next++
	a.heard[id] = heard
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.heard, id)
	}
}

// run sends what is pending, one after the other, until nothing is.
func (a *announcements) run() {
	for {
		a.mu.Lock()
		if !a.waiting {
			a.sending = false
			a.mu.Unlock()
			return
		}
		what := a.pending
		a.pending, a.waiting = service.Announcement{}, false
		a.mu.Unlock()
		began := time.Now()
		a.send(what)
		if left := announceEvery - time.Since(began); left > 0 {
			time.Sleep(left)
		}
	}
}
