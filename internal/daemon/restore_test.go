package daemon

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"darktower.example/global-controller/internal/testpg"
	fleetpb "darktower.example/global-controller/proto/globalcontroller/v1"
)

// registerAs registers controllers, each of which is a change of the history.
func (w *world) registerAs(prefix string, controllers int) {
	w.t.Helper()
	for i := range controllers {
		if got := w.make(ways()[2], call{"RegisterMC", fmt.Sprintf("%s-%d", prefix, i), registration(), w.mc()}); got != (outcome{}) {
			w.t.Fatalf("register: %v", got)
		}
	}
}

// listed is an answer of the history.
type listed struct {
	Transitions []struct {
		ID           int64
		ControllerID string `json:"controller_id"`
	}
	NextCursor string `json:"next_cursor"`
}

func (w *world) history(after string) (got listed) {
	w.t.Helper()
	answer := w.get("/api/v1/transitions?after="+after, w.reader())
	if answer.status != http.StatusOK {
		w.t.Fatalf("history after %q = %d %s", after, answer.status, answer.body)
	}
	answer.decode(w.t, &got)
	return got
}

// lastCursor is what to go on from.
func (v *watcher) lastCursor() (cursor string) {
	for _, e := range v.all() {
		if e.Cursor != "" {
			cursor = e.Cursor
		}
	}
	return cursor
}

// TestRestoredBackup_CursorsAreGone backs the store up, makes changes, restores the backup, and makes others until the
// ids of those that were lost are used again.
func TestRestoredBackup_CursorsAreGone(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, nil).ready()
		w.registerAs("kept", 3)
		kept := w.history("")
		w.end()
		restore := testpg.Backup(t, databaseURL)

		w.run()
		w.ready()
		w.registerAs("lost", 4)
		lost := w.history("")
		cursors := map[string]string{}
		for name, watch := range map[string]func(watchOptions) *watcher{"grpc": w.watchGRPC, "http": w.watchHTTP} {
			v := watch(watchOptions{})
			w.until(name+" has seen it all", func() bool { return v.complete() && v.shows("lost-3", "pending") && v.lastCursor() != "" })
			cursors[name] = v.lastCursor()
			v.end()
			if !strings.Contains(cursors[name], "-") || cursors[name] != lost.NextCursor {
				t.Errorf("cursor of a watch over %s = %q, want that of the history, %q", name, cursors[name], lost.NextCursor)
			}
		}
		w.end()
		restore()

		w.run()
		w.ready()
		w.registerAs("new", 9)
		for name, watch := range map[string]func(watchOptions) *watcher{"grpc": w.watchGRPC, "http": w.watchHTTP} {
			v := watch(watchOptions{cursor: cursors[name]})
			w.until(name+" has begun anew", func() bool { return v.complete() && v.shows("new-8", "pending") })
			if first := v.all()[0]; first.Kind != "snapshot" || first.Body.Reason != "gone" || !v.shows("lost-3", "") || !v.shows("kept-0", "pending") {
				t.Errorf("resumed over %s with %+v, want a snapshot because the cursor is gone, without what was lost", name, first)
			}
			v.end()
		}

		if got := w.history(kept.NextCursor); len(got.Transitions) != 9 || got.Transitions[0].ControllerID != "new-0" {
			t.Errorf("history after what was backed up = %+v, want the nine that are new", got)
		}
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+w.reader())
		for _, cursor := range []string{lost.NextCursor, "5000"} {
			got := w.get("/api/v1/transitions?after="+cursor, w.reader())
			if got.status != http.StatusGone || !strings.Contains(got.body, `"NOT_FOUND"`) || !strings.Contains(got.body, "begin again without after") {
				t.Errorf("history after %s = %d %s, want 410", cursor, got.status, got.body)
			}
			_, err := fleetpb.NewFleetServiceClient(w.conn).ListTransitions(ctx, &fleetpb.ListTransitionsRequest{Cursor: &cursor})
			if status.Code(err) != codes.OutOfRange {
				t.Errorf("ListTransitions(after %s) = %v, want OutOfRange", cursor, err)
			}
		}
	})
}

// TestRestoredBackup_WatchersBeginAnew restores a backup below a Global Controller that goes on running and is watched.
// What the new history has is no shorter than what was seen of the old one.
func TestRestoredBackup_WatchersBeginAnew(t *testing.T) {
	t.Parallel()
	databaseURL := testpg.URL(t)
	w := newWorld(t, databaseURL, nil).ready()
	w.registerAs("kept", 2)
	w.end()
	restore := testpg.Backup(t, databaseURL)

	w.run()
	w.ready()
	w.registerAs("lost", 2)
	v := w.watchGRPC(watchOptions{})
	w.until("seen", func() bool { return v.complete() && v.shows("lost-1", "pending") })
	restore()
	w.until("registered after the restoration", func() bool {
		return w.make(ways()[2], call{"RegisterMC", "new-0", registration(), w.mc()}) == (outcome{})
	})
	w.registerAs("new", 6)
	w.until("what was lost is removed", func() bool {
		return v.shows("new-5", "pending") && v.shows("lost-1", "") && v.shows("kept-1", "pending")
	})
	if !slices.ContainsFunc(v.all(), func(e watched) bool { return e.Body.Reason == "gone" }) {
		t.Error("there was no snapshot because of another history")
	}
}
