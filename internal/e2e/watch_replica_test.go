package e2e

import (
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/testpg"
)

// listenerConnections are the connections of one database that listen.
const listenerConnections = `FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'global-controller-watch'`

// startReplica starts another Global Controller over the same store, which trusts the same tokens.
func (env *environment) startReplica(databaseURL string) *environment {
	env.t.Helper()
	other := newEnvironment(env.t, databaseURL, func(c *daemon.Config) { c.JWKSURL = env.issuer.server.URL })
	other.issuer = env.issuer
	return other
}

func TestWatch_ChangesOfAnotherReplica(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	a := newEnvironment(t, url, nil).waitReady()
	b := a.startReplica(url).waitReady()

	for name, open := range map[string]func(*environment, watchOptions) *watchClient{"grpc": (*environment).watchGRPC, "http": (*environment).watchHTTP} {
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
		a.waitFor("limits", func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.fleet[id].MaxMeetings == 77
		})

		// A watch is resumed at the other replica, which nobody has watched yet.
		v.close()
		a.sendOperatorCall(http.MethodDelete, id+"/drain", "")
		resumed := open(b, watchOptions{after: v.lastID()})
		b.waitFor("what was missed", func() bool { return resumed.showsState(id, "pending") || resumed.showsState(id, "healthy") })
		a.sendOperatorCall(http.MethodDelete, id, "")
		b.waitFor("a deregistration", func() bool { return resumed.showsState(id, "") })
		if resumed.hasEvent(func(e watched) bool { return e.Kind == "snapshot" }) {
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
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = db.Close() }()

	for round := range 2 {
		a.waitFor("a listener", func() bool { return queryCount(t, db, `SELECT count(*) `+listenerConnections) == 1 })
		if n := queryCount(t, db, `SELECT count(pg_terminate_backend(pid)) `+listenerConnections); n != 1 {
			t.Fatalf("%d listenerConnections, want one", n)
		}
		id := fmt.Sprintf("mc-%d", round)
		b.register(id, registration())
		a.waitFor("a registration", func() bool { return v.showsState(id, "pending") })
		want := fmt.Sprintf("\ngc_watch_listener_reconnects_total %d\n", round+1)
		a.waitFor("that it listens again", func() bool { return strings.Contains(a.get("/metrics", "").body, want) })
	}
}

func queryCount(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestWatch_ThousandWatchesShareOneListener(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	env := newEnvironment(t, url, nil).waitReady()
	for i := range 20 {
		env.register(fmt.Sprintf("mc-%d", i), registration())
	}
	const watchers, perConnection = 1000, 250
	conns := make([]*grpc.ClientConn, watchers/perConnection)

	for i := range conns {
		conn, err := grpc.NewClient(env.server.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		defer func() { _ = conn.Close() }()

		conns[i] = conn
	}

	token := env.readerToken()
	all := make([]*watchClient, watchers)
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
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = db.Close() }()

	env.waitFor("the listener", func() bool { return queryCount(t, db, `SELECT count(*) `+listenerConnections) > 0 })
	if n := queryCount(t, db, `SELECT count(*) `+listenerConnections); n != 1 {
		t.Errorf("%d connections listen, want one", n)
	}
	if n := queryCount(t, db, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()`); n > 21 {
		t.Errorf("%d connections, want no more than 20 beside this test's", n)
	}

	metrics := env.get("/metrics", "").body
	if !strings.Contains(metrics, fmt.Sprintf("\ngc_watchers %d\n", watchers)) {
		t.Errorf("the metrics do not count %d watchers", watchers)
	}
	env.heartbeat("mc-7", fastHeartbeat())
	for _, v := range all {
		env.waitFor("a change", func() bool { return v.showsState("mc-7", "healthy") })
	}
}
