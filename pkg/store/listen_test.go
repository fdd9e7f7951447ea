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
func (s *Store) listenTo(t *testing.T) <-chan service.Announcement {
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
	wantHeard(t, heard, func(a service.Announcement) bool { return a.Everything && !a.Reconnected })
	return heard
}

func wantHeard(t *testing.T, heard <-chan service.Announcement, like func(service.Announcement) bool) {
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

func TestOtherProcessesHearWhatIsCommitted(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	one, other := open(t, url), unmigrated(t, Config{URL: url})
	heard, own := other.listenTo(t), one.listenTo(t)
	register := func(id string) {
		t.Helper()
		r := service.Registration{ControllerID: id, Region: "eu", GRPCEndpoint: "http://mc", MaxMeetings: 1, MaxParticipants: 1}
		if _, err := one.Register(t.Context(), r, "client"); err != nil {
			t.Fatalf("Register() = %v", err)
		}
	}
	register("mc")
	wantHeard(t, heard, func(a service.Announcement) bool { return !a.Everything && len(a.ControllerIDs) == 0 })
	register("mc")
	named := func(a service.Announcement) bool { return slices.Equal(a.ControllerIDs, []string{"mc"}) }
	wantHeard(t, heard, named)
	wantHeard(t, own, named)
	listening := func() (pids []int) {
		if err := one.read.SelectContext(t.Context(), &pids, `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`, listenName); err != nil {
			t.Fatalf("look for listeners: %v", err)
		}
		return pids
	}
	if got := listening(); len(got) != 2 {
		t.Errorf("%d listeners, want one for each process", len(got))
	}
	// Each loses its connection, and hears again after that.
	one.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = ?`, listenName)
	for _, heard := range []<-chan service.Announcement{heard, own} {
		wantHeard(t, heard, func(a service.Announcement) bool { return a.Everything && a.Reconnected })
	}
	register("mc")
	wantHeard(t, heard, named)
	// Our own are heard once, and not again from the server.
	for len(own) > 0 {
		<-own
	}
	register("mc")
	wantHeard(t, own, named)
	wantHeard(t, heard, named)
	if n := len(own); n != 0 {
		t.Errorf("%d more announcements of one registration, want none", n)
	}
}

// TestACrowdOfChangesIsFewAnnouncements: those who listen need to know that something changed, not how often.
func TestACrowdOfChangesIsFewAnnouncements(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	one, other := open(t, url), unmigrated(t, Config{URL: url})
	heard := other.listenTo(t)
	began := time.Now()
	for i := range 5000 {
		one.announcements.after(fmt.Sprintf("mc-%d", i), nil, nil)
	}
	wantHeard(t, heard, func(a service.Announcement) bool { return a.Everything })
	if most := 2 + int(time.Since(began)/announceEvery); len(heard) > most {
		t.Errorf("%d announcements, want no more than %d", len(heard), most)
	}
}

func TestAPayloadFits(t *testing.T) {
	t.Parallel()
	var ids []string
	for range namedAtMost {
		ids = append(ids, strings.Repeat("x", 255))
	}
	for n := range ids {
		got := payload("name", service.Announcement{ControllerIDs: ids[:n]})
		if len(got) > payloadBytes || len(strings.Fields(got)) != n+1 && got != "name *" {
			t.Fatalf("payload of %d names has %d bytes: %.20s…", n, len(got), got)
		}
	}
	if got := payload("name", service.Announcement{Everything: true}); got != "name *" {
		t.Errorf("payload = %q, want name *", got)
	}
}
