package watch

import (
	"sync"

	"darktower.example/global-controller/service"
)

// inbox has the announcements since the last poll. Its lock is held only to append or to take, because an announcement is on the
// path of a heartbeat.
type inbox struct {
	mu        sync.Mutex
	announced service.Announcement
}

func (i *inbox) add(a service.Announcement) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.announced.Merge(a, maxReadByID)
}

// take returns the announcements and empties the inbox.
func (i *inbox) take() service.Announcement {
	i.mu.Lock()
	defer i.mu.Unlock()
	announced := i.announced
	i.announced = service.Announcement{}
	return announced
}
