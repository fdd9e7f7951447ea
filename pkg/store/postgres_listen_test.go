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

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// listen collects what a store announces until the test ends, from when it listens on.
func (s *Store) collectAnnouncements(t *testing.T) <-chan service.Announcement {
	t.Helper()
	heard := make(chan service.Announcement, 10000)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Listen(ctx, func(a service.Announcement) { heard <- a })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	waitForAnnouncement(t, heard, func(a service.Announcement) bool { return a.Everything && !a.Reconnected })
	return heard
}

func waitForAnnouncement(t *testing.T, heard <-chan service.Announcement, like func(service.Announcement) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case a := <-heard:
			if like(a) {
				return
			}
		case <-late:
			t.Fatal("it was not announced")
		}
	}
}

func TestListen_ReceivesCommitsOfOtherProcesses(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	one, other := openMigrated(t, url), openUnmigrated(t, Config{URL: url})
	heard, own := other.collectAnnouncements(t), one.collectAnnouncements(t)
	register := func(id string) {
		t.Helper()
		r := service.Registration{ControllerID: id, Region: "eu", GRPCEndpoint: "http://mc", MaxMeetings: 1, MaxParticipants: 1}
		if _, err := one.Register(t.Context(), r, "client"); err != nil {
			t.Fatalf("Register() = %v", err)
		}
	}

	register("mc")
	waitForAnnouncement(t, heard, func(a service.Announcement) bool { return !a.Everything && len(a.ControllerIDs) == 0 })
	register("mc")
	named := func(a service.Announcement) bool { return slices.Equal(a.ControllerIDs, []string{"mc"}) }
	waitForAnnouncement(t, heard, named)
	waitForAnnouncement(t, own, named)
	listening := func() (pids []int) {
		if err := one.readDB.SelectContext(t.Context(), &pids, `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`, listenerName); err != nil {
			t.Fatalf("look for listeners: %v", err)
		}
		return pids
	}

	if got := listening(); len(got) != 2 {
		t.Errorf("%d listeners, want one for each process", len(got))
	}

	// Each loses its connection, and hears again after that.
	one.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = ?`, listenerName)
	for _, heard := range []<-chan service.Announcement{heard, own} {
		waitForAnnouncement(t, heard, func(a service.Announcement) bool { return a.Everything && a.Reconnected })
	}

	register("mc")
	waitForAnnouncement(t, heard, named)
	// Our own are heard once, and not again from the server.

	for len(own) > 0 {
		<-own
	}

	register("mc")
	waitForAnnouncement(t, own, named)
	waitForAnnouncement(t, heard, named)
	if n := len(own); n != 0 {
		t.Errorf("%d more announcements of one registration, want none", n)
	}
}

// TestListen_BurstOfChangesIsFewAnnouncements: those who listen need to know that something changed, not how often.
func TestListen_BurstOfChangesIsFewAnnouncements(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	one, other := openMigrated(t, url), openUnmigrated(t, Config{URL: url})
	heard := other.collectAnnouncements(t)
	began := time.Now()
	for i := range 5000 {
		one.announcements.announceOutcome(fmt.Sprintf("mc-%d", i), nil, nil)
	}
	waitForAnnouncement(t, heard, func(a service.Announcement) bool { return a.Everything })
	if most := 2 + int(time.Since(began)/announceInterval); len(heard) > most {
		t.Errorf("%d announcements, want no more than %d", len(heard), most)
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
