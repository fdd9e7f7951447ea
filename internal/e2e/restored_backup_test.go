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

// registerMany registers controllers, each of which makes one transition.
func (env *environment) registerMany(prefix string, controllers int) {
	env.t.Helper()
	for i := range controllers {
		env.register(fmt.Sprintf("%s-%d", prefix, i), registration())
	}
}

// TestRestoredBackup_CursorsAreGone backs the store up, makes transitions, restores the backup, and makes others until they use
// the ids of the lost ones again.
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

		cursors := make(map[string]string)
		for name, watch := range watchTransports() {
			v := watch(env, watchOptions{})
			env.waitFor(name+" has shown all transitions", func() bool {
				return v.isComplete() && v.showsState("lost-3", "pending") && v.lastCursor() != ""
			})
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
		for name, watch := range watchTransports() {
			v := watch(env, watchOptions{cursor: cursors[name]})
			env.waitFor(name+" has restarted", func() bool { return v.isComplete() && v.showsState("new-8", "pending") })
			if first := v.allEvents()[0]; first.Kind != "snapshot" || first.Body.Reason != "gone" {
				t.Errorf("resumed over %s with %+v, want a snapshot because the cursor is gone", name, first)
			}
			if !v.showsState("lost-3", "") || !v.showsState("kept-0", "pending") {
				t.Errorf("resumed over %s, the watch shows another fleet than the store", name)
			}
			v.close()
		}

		if got := env.listHistory("after=" + kept.NextCursor); len(got.Transitions) != 9 || got.Transitions[0].ControllerID != "new-0" {
			t.Errorf("history after the backup = %+v, want the nine new transitions", got)
		}
		for _, cursor := range []string{lost.NextCursor, "5000"} {
			env.checkCursorGone(cursor)
		}
	})
}

// checkCursorGone checks that the history refuses a cursor.
func (env *environment) checkCursorGone(cursor string) {
	env.t.Helper()
	got := env.get("/api/v1/transitions?after="+cursor, env.readerToken())
	if !got.is(http.StatusGone, `"NOT_FOUND"`, "start again without it") {
		env.t.Errorf("history after %s = %v, want 410", cursor, got)
	}

	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+env.readerToken())
	_, err := fleetpb.NewFleetServiceClient(env.conn).ListTransitions(ctx, &fleetpb.ListTransitionsRequest{Cursor: &cursor})
	if status.Code(err) != codes.OutOfRange {
		env.t.Errorf("ListTransitions(after %s) = %v, want OutOfRange", cursor, err)
	}
}

// TestRestoredBackup_WatchesRestart restores a backup while a server runs and is watched. The new history becomes as long as the
// old one, so that its length does not show the restoration.
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
	env.waitFor("the watch shows the fleet", func() bool { return v.isComplete() && v.showsState("lost-1", "pending") })

	restore()
	env.waitFor("registered after the restoration", func() bool {
		return env.send(viaHTTP, call{"RegisterMC", "new-0", registration(), env.controllerAuth()}) == (outcome{})
	})
	env.registerMany("new", 6)
	env.waitFor("the watch shows the restored fleet", func() bool {
		return v.showsState("new-5", "pending") && v.showsState("lost-1", "") && v.showsState("kept-1", "pending")
	})

	if !slices.ContainsFunc(v.allEvents(), func(e watched) bool { return e.Body.Reason == "gone" }) {
		t.Error("there was no snapshot with the reason gone")
	}
}
