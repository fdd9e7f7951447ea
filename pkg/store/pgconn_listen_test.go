package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/testpg"
	"darktower.example/global-controller/service"
)

// maxWait is how long a test waits for an event.
const maxWait = 20 * time.Second

// collectAnnouncements waits until the store listens, and collects its announcements until the test ends.
func (s *Store) collectAnnouncements(t *testing.T) <-chan service.Announcement {
	t.Helper()
	received := make(chan service.Announcement, 10000)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Listen(ctx, func(a service.Announcement) { received <- a })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	waitForAnnouncement(t, received, func(a service.Announcement) bool { return a.Everything && !a.Reconnected })
	return received
}

// waitForAnnouncement waits for an announcement that matches.
func waitForAnnouncement(t *testing.T, received <-chan service.Announcement, matches func(service.Announcement) bool) {
	t.Helper()
	timeout := time.After(maxWait)
	for {
		select {
		case a := <-received:
			if matches(a) {
				return
			}
		case <-timeout:
			t.Fatal("no matching announcement")
		}
	}
}

func TestListen_ReceivesCommitsOfOtherProcesses(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	one, other := openMigrated(t, url), openUnmigrated(t, Config{URL: url})
	received, own := other.collectAnnouncements(t), one.collectAnnouncements(t)
	register := func(id string) {
		t.Helper()
		r := registration(id)
		if _, err := one.Register(t.Context(), r, "client"); err != nil {
			t.Fatalf("Register() = %v", err)
		}
	}

	register("mc")
	waitForAnnouncement(t, received, func(a service.Announcement) bool { return !a.Everything && len(a.ControllerIDs) == 0 })
	register("mc")
	isMC := func(a service.Announcement) bool { return slices.Equal(a.ControllerIDs, []string{"mc"}) }
	waitForAnnouncement(t, received, isMC)
	waitForAnnouncement(t, own, isMC)
	listeners := func() (pids []int) {
		if err := one.readDB.SelectContext(t.Context(), &pids, `SELECT pid FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1`, listenerName); err != nil {
			t.Fatalf("read listeners: %v", err)
		}
		return pids
	}

	if got := listeners(); len(got) != 2 {
		t.Errorf("%d listeners, want one for each process", len(got))
	}

	// Each listener loses its connection, and receives announcements again on a new one.
	one.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = ?`, listenerName)
	for _, received := range []<-chan service.Announcement{received, own} {
		waitForAnnouncement(t, received, func(a service.Announcement) bool { return a.Everything && a.Reconnected })
	}

	register("mc")
	waitForAnnouncement(t, received, isMC)
	// A store receives its own announcements once, and not again from the server.

	for len(own) > 0 {
		<-own
	}

	register("mc")
	waitForAnnouncement(t, own, isMC)
	waitForAnnouncement(t, received, isMC)
	if n := len(own); n != 0 {
		t.Errorf("%d more announcements of one registration, want none", n)
	}
}

// TestListen_BurstOfChangesIsFewAnnouncements checks that subscribers learn that something changed, not how often.
func TestListen_BurstOfChangesIsFewAnnouncements(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	one, other := openMigrated(t, url), openUnmigrated(t, Config{URL: url})
	received := other.collectAnnouncements(t)
	began := time.Now()
	for i := range 5000 {
		one.announcer.announceOutcome(fmt.Sprintf("mc-%d", i), nil, nil)
	}
	waitForAnnouncement(t, received, func(a service.Announcement) bool { return a.Everything })
	if limit := 2 + int(time.Since(began)/announceInterval); len(received) > limit {
		t.Errorf("%d announcements, want no more than %d", len(received), limit)
	}
}

func TestNotifyPayload_FitsLimit(t *testing.T) {
	t.Parallel()
	var ids []string
	for range maxAnnouncedIDs {
		ids = append(ids, strings.Repeat("x", 255))
	}
	for n := range ids {
		got := notifyPayload("name", service.Announcement{ControllerIDs: ids[:n]})
		if len(got) > maxPayloadBytes || len(strings.Fields(got)) != n+1 && got != "name *" {
			t.Fatalf("payload of %d names has %d bytes: %.20s…", n, len(got), got)
		}
	}
	if got := notifyPayload("name", service.Announcement{Everything: true}); got != "name *" {
		t.Errorf("payload = %q, want name *", got)
	}
}
