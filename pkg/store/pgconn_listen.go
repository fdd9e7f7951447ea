package store

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	"darktower.example/global-controller/service"
)

const (
	// notifyChannel is the channel on which processes over one database announce their commits.
	notifyChannel = "gc_changes"
	// maxPayloadBytes is below PostgreSQL's limit of a notification, which is 8000.
	maxPayloadBytes = 7900
	// everythingPayload replaces the ids of the changed controllers if they are too many.
	everythingPayload = "*"
	// pingInterval is how often the listening connection is checked. It is replaced if it receives nothing for the
	// timeout of an operation and a second.
	pingInterval = 2 * time.Second
	// minReconnectDelay and maxReconnectDelay limit the delay before a lost connection is replaced.
	minReconnectDelay, maxReconnectDelay = 100 * time.Millisecond, time.Second
	// pollInterval is how often subscribers must read the history if the store cannot listen.
	pollInterval = 250 * time.Millisecond
	// listenerName is the application_name of the listening connection in pg_stat_activity.
	listenerName = "global-controller-watch"
)

// Listen implements [service.ChangeSource].
func (s *Store) Listen(ctx context.Context, deliver func(service.Announcement)) {
	unsubscribe := s.announcer.subscribe(deliver)
	defer unsubscribe()

	if s.listenRemote == nil {
		<-ctx.Done()
		return
	}
	s.listenRemote(ctx)
}

// notify sends an announcement to the other processes. If that fails, they find the change when they next read the store.
func (s *Store) notify(announcement service.Announcement) {
	_, _ = run(context.Background(), s, "announce", func(ctx context.Context) (struct{}, error) {
		payload := notifyPayload(s.announcer.name, announcement)
		_, err := s.watchDB.ExecContext(ctx, `SELECT pg_notify($1, $2)`, notifyChannel, payload)
		return struct{}{}, err
	})
}

// notifyPayload returns the name of the sender and the ids of the changed controllers, with spaces between.
func notifyPayload(sender string, announcement service.Announcement) string {
	var b strings.Builder
	b.WriteString(sender)
	if announcement.Everything {
		return b.String() + " " + everythingPayload
	}

	for _, id := range announcement.ControllerIDs {
		if b.Len()+1+len(id) > maxPayloadBytes {
			return sender + " " + everythingPayload
		}
		b.WriteString(" " + id)
	}
	return b.String()
}

// listenPostgres delivers the announcements of other processes until ctx ends. Announcements are lost while there is no
// connection, so each new connection starts with an announcement of everything.
func (s *Store) listenPostgres(ctx context.Context, servers *serverGroup) {
	if !waitUntilReachable(ctx, s.watchDB.PingContext) {
		return
	}
	if servers.hasPooler.Load() {
		s.announcePolls(ctx)
		return
	}

	source := servers.address.source(servers.address.servers, map[string]string{
		"application_name": listenerName, "target_session_attrs": "read-write", "connect_timeout": "2",
	})
	listener := pq.NewDialListener(dialer{timeout: servers.timeout + readGrace}, source, minReconnectDelay, maxReconnectDelay, nil)
	isListening := make(chan struct{})
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		defer close(isListening)
		startListening(ctx, listener)
	})
	group.Go(func() { pingListener(ctx, listener) })
	defer closeListener(listener)

	for {
		select {
		case <-ctx.Done():
			return
		case <-isListening:
			isListening = nil
			s.announcer.deliver(service.Announcement{Everything: true})
		case notification := <-listener.Notify:
			s.announcer.deliverNotification(notification)
		}
	}
}

// waitUntilReachable pings until the server responds. It returns false if ctx ends first.
func waitUntilReachable(ctx context.Context, ping func(context.Context) error) bool {
	for ping(ctx) != nil {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(maxReconnectDelay):
		}
	}
	return true
}

// startListening waits until the listener has a connection and listens, or ctx ends.
func startListening(ctx context.Context, listener *pq.Listener) {
	for listener.Listen(notifyChannel) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(maxReconnectDelay):
		}
	}
}

// pingListener pings until ctx ends. It has a goroutine of its own, because the response arrives after notifications
// that the loop of listenPostgres must receive first. If a connection does not respond, its next read fails and the
// listener replaces it.
func pingListener(ctx context.Context, listener *pq.Listener) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = listener.Ping()
		}
	}
}

// closeListener closes the listener and discards the notifications that it sends until it has ended.
func closeListener(listener *pq.Listener) {
	_ = listener.Close()
	for range listener.Notify {
		continue
	}
}

// announcePolls announces at short intervals that there may be changes: behind a pooler a session cannot listen.
func (s *Store) announcePolls(ctx context.Context) {
	s.announcer.deliver(service.Announcement{Everything: true})
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.announcer.deliver(service.Announcement{Polled: true})
		}
	}
}

// deliverNotification delivers a notification. nil means that a lost connection was replaced.
func (a *announcer) deliverNotification(notification *pq.Notification) {
	if notification == nil {
		a.deliver(service.Announcement{Everything: true, Reconnected: true})
		return
	}

	fields := strings.Fields(notification.Extra)
	switch {
	case len(fields) == 0 || fields[0] == a.name:
		// Not an announcement, or one of this store, which its subscribers have received already.
	case len(fields) == 2 && fields[1] == everythingPayload:
		a.deliver(service.Announcement{Everything: true})
	default:
		a.deliver(service.Announcement{ControllerIDs: fields[1:]})
	}
}
