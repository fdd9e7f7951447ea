package daemon

import (
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"darktower.example/global-controller/internal/testpg"
)

// listeners are the connections of one database that listen.
const listeners = `FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'global-controller-watch'`

// replica starts another Global Controller over the same store, which trusts the same tokens.
func (w *world) replica(databaseURL string) *world {
	w.t.Helper()
	other := newWorld(w.t, databaseURL, func(c *Config) { c.JWKSURL = w.issuer.server.URL })
	other.issuer = w.issuer
	return other
}

func TestAWatchSeesWhatAnotherReplicaDoes(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	a := newWorld(t, url, nil).ready()
	b := a.replica(url).ready()
	for name, open := range map[string]func(*world, watchOptions) *watcher{"grpc": (*world).watchGRPC, "http": (*world).watchHTTP} {
		v := open(a, watchOptions{loads: true})
		a.until("the snapshot", v.complete)
		id := "mc-" + name
		b.register(id, registration())
		a.until("a registration", func() bool { return v.shows(id, "pending") })
		b.heartbeat(id, load())
		a.until("a state", func() bool { return v.shows(id, "healthy") })
		b.operate(http.MethodPost, id+"/drain", `{"force":true}`)
		a.until("a drain", func() bool { return v.shows(id, "draining") })
		b.register(id, with(registration(), "max_meetings", 77))
		a.until("limits", func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.fleet[id].MaxMeetings == 77
		})
		// A watch is resumed at the other replica, which nobody has watched yet.
		v.end()
		a.operate(http.MethodDelete, id+"/drain", "")
		resumed := open(b, watchOptions{after: v.lastID()})
		b.until("what was missed", func() bool { return resumed.shows(id, "pending") || resumed.shows(id, "healthy") })
		a.operate(http.MethodDelete, id, "")
		b.until("a deregistration", func() bool { return resumed.shows(id, "") })
		if resumed.has(func(e watched) bool { return e.Kind == "snapshot" }) {
			t.Errorf("%s: events = %+v, want changes only", name, resumed.all())
		}
		resumed.end()
	}
}

func TestAWatchOutlivesItsListener(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	a := newWorld(t, url, nil).ready()
	b := a.replica(url).ready()
	v := a.watchHTTP(watchOptions{})
	a.until("the snapshot", v.complete)
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = db.Close() }()
	for round := range 2 {
		a.until("a listener", func() bool { return count(t, db, `SELECT count(*) `+listeners) == 1 })
		if n := count(t, db, `SELECT count(pg_terminate_backend(pid)) `+listeners); n != 1 {
			t.Fatalf("%d listeners, want one", n)
		}
		id := fmt.Sprintf("mc-%d", round)
		b.register(id, registration())
		a.until("a registration", func() bool { return v.shows(id, "pending") })
		want := fmt.Sprintf("\ngc_watch_listener_reconnects_total %d\n", round+1)
		a.until("that it listens again", func() bool { return strings.Contains(a.get("/metrics", "").body, want) })
	}
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestAThousandWatchersAreOneListener(t *testing.T) {
	t.Parallel()
	url := testpg.URL(t)
	w := newWorld(t, url, nil).ready()
	for i := range 20 {
		w.register(fmt.Sprintf("mc-%d", i), registration())
	}
	const watchers, perConnection = 1000, 250
	conns := make([]*grpc.ClientConn, watchers/perConnection)
	for i := range conns {
		conn, err := grpc.NewClient(w.server.GRPCAddress(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
		defer func() { _ = conn.Close() }()
		conns[i] = conn
	}
	token := w.reader()
	all := make([]*watcher, watchers)
	for i := range all {
		all[i] = w.watchGRPC(watchOptions{conn: conns[i/perConnection], token: token})
	}
	defer func() {
		for _, v := range all {
			v.cancel()
		}
	}()
	for _, v := range all {
		w.until("a snapshot", v.complete)
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = db.Close() }()
	w.until("the listener", func() bool { return count(t, db, `SELECT count(*) `+listeners) > 0 })
	if n := count(t, db, `SELECT count(*) `+listeners); n != 1 {
		t.Errorf("%d connections listen, want one", n)
	}
	if n := count(t, db, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()`); n > 21 {
		t.Errorf("%d connections, want no more than 20 beside this test's", n)
	}
	metrics := w.get("/metrics", "").body
	if !strings.Contains(metrics, fmt.Sprintf("\ngc_watchers %d\n", watchers)) {
		t.Errorf("the metrics do not count %d watchers", watchers)
	}
	w.heartbeat("mc-7", load())
	for _, v := range all {
		w.until("a change", func() bool { return v.shows("mc-7", "healthy") })
	}
}
