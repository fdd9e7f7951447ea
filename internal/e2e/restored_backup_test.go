package e2e

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

// registerMany registers controllers, each of which is a change of the history.
func (env *environment) registerMany(prefix string, controllers int) {
	env.t.Helper()
	for i := range controllers {
		if got := env.send(viaHTTP, call{"RegisterMC", fmt.Sprintf("%s-%d", prefix, i), registration(), env.controllerAuth()}); got != (outcome{}) {
			env.t.Fatalf("register: %v", got)
		}
	}
}

// transitionPage is a page of the history.
type transitionPage struct {
	Transitions []struct {
		ID           int64
		ControllerID string `json:"controller_id"`
	}
	NextCursor string `json:"next_cursor"`
}

func (env *environment) listHistory(after string) (got transitionPage) {
	env.t.Helper()
	answer := env.get("/api/v1/transitions?after="+after, env.readerToken())
	if answer.status != http.StatusOK {
		env.t.Fatalf("history after %q = %d %s", after, answer.status, answer.body)
	}
	answer.decode(env.t, &got)
	return got
}

// lastCursor is what to go on from.
func (v *watchClient) lastCursor() (cursor string) {
	for _, e := range v.allEvents() {
		if e.Cursor != "" {
			cursor = e.Cursor
		}
	}
	return cursor
}

// TestRestoredBackup_CursorsAreGone backs the store up, makes changes, restores the backup, and makes others until the
// ids of those that were lost are used again.
func TestRestoredBackup_CursorsAreGone(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.registerMany("kept", 3)
		kept := env.listHistory("")
		env.shutDown()
		restore := testpg.Backup(t, databaseURL)

		env.start()
		env.waitReady()
		env.registerMany("lost", 4)
		lost := env.listHistory("")
		cursors := map[string]string{}

		for name, watch := range map[string]func(watchOptions) *watchClient{"grpc": env.watchGRPC, "http": env.watchHTTP} {
			v := watch(watchOptions{})
			env.waitFor(name+" has seen it all", func() bool { return v.isComplete() && v.showsState("lost-3", "pending") && v.lastCursor() != "" })
			cursors[name] = v.lastCursor()
			v.close()
			if !strings.Contains(cursors[name], "-") || cursors[name] != lost.NextCursor {
				t.Errorf("cursor of a watch over %s = %q, want that of the history, %q", name, cursors[name], lost.NextCursor)
			}
		}

		env.shutDown()
		restore()

		env.start()
		env.waitReady()
		env.registerMany("new", 9)

		for name, watch := range map[string]func(watchOptions) *watchClient{"grpc": env.watchGRPC, "http": env.watchHTTP} {
			v := watch(watchOptions{cursor: cursors[name]})
			env.waitFor(name+" has begun anew", func() bool { return v.isComplete() && v.showsState("new-8", "pending") })
			if first := v.allEvents()[0]; first.Kind != "snapshot" || first.Body.Reason != "gone" || !v.showsState("lost-3", "") || !v.showsState("kept-0", "pending") {
				t.Errorf("resumed over %s with %+v, want a snapshot because the cursor is gone, without what was lost", name, first)
			}

			v.close()
		}

		if got := env.listHistory(kept.NextCursor); len(got.Transitions) != 9 || got.Transitions[0].ControllerID != "new-0" {
			t.Errorf("history after what was backed up = %+v, want the nine that are new", got)
		}
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+env.readerToken())

		for _, cursor := range []string{lost.NextCursor, "5000"} {
			got := env.get("/api/v1/transitions?after="+cursor, env.readerToken())
			if got.status != http.StatusGone || !strings.Contains(got.body, `"NOT_FOUND"`) || !strings.Contains(got.body, "begin again without after") {
				t.Errorf("history after %s = %d %s, want 410", cursor, got.status, got.body)
			}
			_, err := fleetpb.NewFleetServiceClient(env.conn).ListTransitions(ctx, &fleetpb.ListTransitionsRequest{Cursor: &cursor})
			if status.Code(err) != codes.OutOfRange {
				t.Errorf("ListTransitions(after %s) = %v, want OutOfRange", cursor, err)
			}
		}
	})
}

// TestRestoredBackup_WatchesRestart restores a backup below a Global Controller that goes on running and is watched.
// What the new history has is no shorter than what was seen of the old one.
func TestRestoredBackup_WatchesRestart(t *testing.T) {
	t.Parallel()
	databaseURL := testpg.URL(t)
	env := newEnvironment(t, databaseURL, nil).waitReady()
	env.registerMany("kept", 2)
	env.shutDown()
	restore := testpg.Backup(t, databaseURL)

	env.start()
	env.waitReady()
	env.registerMany("lost", 2)
	v := env.watchGRPC(watchOptions{})
	env.waitFor("seen", func() bool { return v.isComplete() && v.showsState("lost-1", "pending") })
	restore()
	env.waitFor("registered after the restoration", func() bool {
		return env.send(viaHTTP, call{"RegisterMC", "new-0", registration(), env.controllerAuth()}) == (outcome{})
	})
	env.registerMany("new", 6)
	env.waitFor("what was lost is removed", func() bool {
		return v.showsState("new-5", "pending") && v.showsState("lost-1", "") && v.showsState("kept-1", "pending")
	})
	if !slices.ContainsFunc(v.allEvents(), func(e watched) bool { return e.Body.Reason == "gone" }) {
		t.Error("there was no snapshot because of another history")
	}
}
