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
	// channel is where processes over one database announce what they committed.
	channel = "gc_changes"
	// payloadBytes is below what PostgreSQL lets a notification carry, which is 8000.
	payloadBytes = 7900
	// everything stands for the names of those that changed when they are too many.
	everything = "*"
	// listenPing is how often the server is asked for a sign of life. The connection is given up when nothing came from it
	// for the bound of an operation and a second.
	listenPing = 2 * time.Second
	// How long after a lost connection the next is tried.
	listenAgainFirst, listenAgainLast = 100 * time.Millisecond, time.Second
	// pollInterval is how often the history is looked at where nothing can be listened to.
	pollInterval = 250 * time.Millisecond
	// listenName is how the connection that listens is told from the others in pg_stat_activity.
	listenName = "global-controller-watch"
)

// Listen implements [service.ChangeSource].
func (s *Store) Listen(ctx context.Context, heard func(service.Announcement)) {
	unsubscribe := s.announcements.subscribe(heard)
	defer unsubscribe()
	if s.listen == nil {
		<-ctx.Done()
		return
	}
	s.listen(ctx)
}

// notify announces something to the other processes. When that fails they find it by looking at the store once in a while.
func (s *Store) notify(what service.Announcement) {
	_, _ = run(context.Background(), s, "announce", func(ctx context.Context) (none struct{}, _ error) {
		_, err := s.watch.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, payload(s.announcements.name, what))
		return none, err
	})
}

func payload(name string, what service.Announcement) string {
	var b strings.Builder
	b.WriteString(name)
	if what.Everything {
		return b.String() + " " + everything
	}
	for _, id := range what.ControllerIDs {
		if b.Len()+1+len(id) > payloadBytes {
			return name + " " + everything
		}
		b.WriteString(" " + id)
	}
	return b.String()
}

// listenPostgres passes on what other processes announce. What is announced while there is no connection is lost, so
// whoever listens is told of everything after each.
func (s *Store) listenPostgres(ctx context.Context, servers *cluster) {
	for s.watch.PingContext(ctx) != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenAgainLast):
		}
	}
	if servers.pooler.Load() {
		s.pollChanges(ctx)
		return
	}
	source := servers.address.source(servers.address.servers, map[string]string{
		"application_name": listenName, "target_session_attrs": "read-write", "connect_timeout": "2",
	})
	listener := pq.NewDialListener(dialer{limit: servers.timeout + readGrace}, source, listenAgainFirst, listenAgainLast, nil)
	listening := make(chan struct{})
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() {
		defer close(listening)
		// It waits for a connection.
		for listener.Listen(channel) != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(listenAgainLast):
			}
		}
	})
	beside.Go(func() {
		ping := time.NewTicker(listenPing)
		defer ping.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ping.C:
				// Apart from the loop below, because the answer comes behind notifications that somebody has to take. A
				// connection that does not answer ends with its next read, and the listener makes another.
				_ = listener.Ping()
			}
		}
	})
	defer func() {
		_ = listener.Close()
		for range listener.Notify {
			continue // It is closed when the listener has ended, which may want to be rid of some more.
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-listening:
			listening = nil
			s.announcements.tell(service.Announcement{Everything: true})
		case notification := <-listener.Notify:
			s.announcements.tellNotified(notification)
		}
	}
}

// pollChanges announces at short intervals that something may have changed: behind a pooler a session cannot listen.
func (s *Store) pollChanges(ctx context.Context) {
	s.announcements.tell(service.Announcement{Everything: true})
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.announcements.tell(service.Announcement{Polled: true})
		}
	}
}

// tellNotified passes on a notification; nil stands for a connection that was lost and is there again.
func (a *announcements) tellNotified(notification *pq.Notification) {
	if notification == nil {
		a.tell(service.Announcement{Everything: true, Reconnected: true})
		return
	}
	names := strings.Fields(notification.Extra)
	switch {
	case len(names) == 0 || names[0] == a.name:
		// Nobody's, or our own, which was told at once.
	case len(names) == 2 && names[1] == everything:
		a.tell(service.Announcement{Everything: true})
	default:
		a.tell(service.Announcement{ControllerIDs: names[1:]})
	}
}
