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
	switch {
	case a.Everything || len(i.announced.ControllerIDs)+len(a.ControllerIDs) > maxReadByID:
		i.announced = service.Announcement{Everything: true}
	case !i.announced.Everything:
		i.announced.ControllerIDs = append(i.announced.ControllerIDs, a.ControllerIDs...)
	}
}

// take returns the announcements and empties the inbox.
func (i *inbox) take() service.Announcement {
	i.mu.Lock()
	defer i.mu.Unlock()
	announced := i.announced
	i.announced = service.Announcement{}
	return announced
}
