package e2e

import (
	"database/sql"
	"fmt"
	"net/http"
	"testing"

	"google.golang.org/grpc"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/testpg"
)

// listenerConnections selects the connections of the current database that listen.
const listenerConnections = `FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'global-controller-watch'`

// startReplica starts another server over the same store, which accepts the same tokens.
func (env *environment) startReplica(databaseURL string) *environment {
	env.t.Helper()
	other := newEnvironment(env.t, databaseURL, func(c *daemon.Config) { c.JWKSURL = env.issuer.server.URL })
	other.issuer = env.issuer
	return other
}

// openDatabase opens the database of a test.
func openDatabase(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func queryCount(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestWatch_ChangesOfAnotherReplica(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	a := newEnvironment(t, url, nil).waitReady()
	b := a.startReplica(url).waitReady()

	for name, open := range watchTransports() {
		v := open(a, watchOptions{loads: true})
		a.waitFor("the snapshot", v.isComplete)

		id := "mc-" + name
		b.register(id, registration())
		a.waitFor("a registration", func() bool { return v.showsState(id, "pending") })
		b.heartbeat(id, fastHeartbeat())
		a.waitFor("a state", func() bool { return v.showsState(id, "healthy") })
		b.sendOperatorCall(http.MethodPost, id+"/drain", `{"force":true}`)
		a.waitFor("a drain", func() bool { return v.showsState(id, "draining") })
		b.register(id, with(registration(), "max_meetings", 77))
		a.waitFor("limits", func() bool { return v.shown(id).MaxMeetings == 77 })
		v.close()

		// The watch resumes at the other replica, which had no watch before.
		a.sendOperatorCall(http.MethodDelete, id+"/drain", "")
		resumed := open(b, watchOptions{after: v.lastID()})
		b.waitFor("the missed changes", func() bool { return resumed.showsState(id, "pending") || resumed.showsState(id, "healthy") })
		a.sendOperatorCall(http.MethodDelete, id, "")
		b.waitFor("a deregistration", func() bool { return resumed.showsState(id, "") })
		if resumed.hasEvent(isSnapshot) {
			t.Errorf("%s: events = %+v, want changes only", name, resumed.allEvents())
		}
		resumed.close()
	}
}

func TestWatch_SurvivesListenerLoss(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	a := newEnvironment(t, url, nil).waitReady()
	b := a.startReplica(url).waitReady()
	v := a.watchHTTP(watchOptions{})
	a.waitFor("the snapshot", v.isComplete)
	db := openDatabase(t, url)

	for round := range 2 {
		a.waitFor("a listener", func() bool { return queryCount(t, db, `SELECT count(*) `+listenerConnections) == 1 })
		if n := queryCount(t, db, `SELECT count(pg_terminate_backend(pid)) `+listenerConnections); n != 1 {
			t.Fatalf("%d listeners, want one", n)
		}

		id := fmt.Sprintf("mc-%d", round)
		b.register(id, registration())
		a.waitFor("a registration", func() bool { return v.showsState(id, "pending") })
		a.waitFor("a reconnect of the listener", func() bool {
			n, _ := a.readMetric("gc_watch_listener_reconnects_total")
			return n == float64(round+1)
		})
	}
}

func TestWatch_ThousandWatchesShareOneListener(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	env := newEnvironment(t, url, nil).waitReady()
	for i := range 20 {
		env.register(fmt.Sprintf("mc-%d", i), registration())
	}

	const watches, perConnection = 1000, 250
	conns := make([]*grpc.ClientConn, watches/perConnection)
	for i := range conns {
		conns[i] = env.newConn()
	}

	token := env.readerToken()
	all := make([]*watchClient, watches)
	for i := range all {
		all[i] = env.watchGRPC(watchOptions{conn: conns[i/perConnection], token: token})
	}
	defer func() {
		for _, v := range all {
			v.cancel()
		}
	}()
	for _, v := range all {
		env.waitFor("a snapshot", v.isComplete)
	}

	db := openDatabase(t, url)
	env.waitFor("the listener", func() bool { return queryCount(t, db, `SELECT count(*) `+listenerConnections) > 0 })
	if n := queryCount(t, db, `SELECT count(*) `+listenerConnections); n != 1 {
		t.Errorf("%d connections listen, want one", n)
	}
	if n := queryCount(t, db, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()`); n > 21 {
		t.Errorf("%d connections, want at most 20 beside that of this test", n)
	}
	if got, _ := env.readMetric("gc_watchers"); got != watches {
		t.Errorf("gc_watchers = %v, want %d", got, watches)
	}

	env.heartbeat("mc-7", fastHeartbeat())
	for _, v := range all {
		env.waitFor("a change", func() bool { return v.showsState("mc-7", "healthy") })
	}
}
