package daemon

import (
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// onBothWays runs a test with a watch over gRPC and with one over HTTP.
func onBothWays(t *testing.T, test func(t *testing.T, databaseURL string, open func(*world, watchOptions) *watcher)) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		t.Run("grpc", func(t *testing.T) { test(t, databaseURL, (*world).watchGRPC) })
		t.Run("http", func(t *testing.T) { test(t, databaseURL, (*world).watchHTTP) })
	})
}

func (w *world) register(id string, fields map[string]any) {
	w.t.Helper()
	if got := w.make(ways()[0], call{"RegisterMC", id, fields, w.mc()}); got != (outcome{}) {
		w.t.Fatalf("RegisterMC(%s) = %v", id, got)
	}
}

func (w *world) heartbeat(id string, fields map[string]any) {
	w.t.Helper()
	if got := w.make(ways()[0], call{"FastHeartbeat", id, fields, w.mc()}); got != (outcome{}) {
		w.t.Fatalf("FastHeartbeat(%s) = %v", id, got)
	}
}

func (w *world) operate(method, path, body string) {
	w.t.Helper()
	got := w.request(method, "/api/v1/controllers/"+path, body, bearer(w.issuer.token(nil, map[string]any{"scope": "gc:admin"})))
	if got.status != http.StatusOK {
		w.t.Fatalf("%s %s = %d %s", method, path, got.status, got.body)
	}
}

func TestAWatchShowsWhatHappens(t *testing.T) {
	onBothWays(t, func(t *testing.T, databaseURL string, open func(*world, watchOptions) *watcher) {
		w := newWorld(t, databaseURL, nil).ready()
		w.register("before", registration())
		v := open(w, watchOptions{loads: true})
		w.until("the snapshot", v.complete)
		w.until("who was there before", func() bool { return v.shows("before", "pending") })
		w.register("mc-1", registration())
		w.until("a registration", func() bool { return v.shows("mc-1", "pending") })
		w.heartbeat("mc-1", load())
		w.until("a state", func() bool { return v.shows("mc-1", "healthy") })
		w.heartbeat("mc-1", with(load(), "capacity", map[string]any{"current_meetings": 7}))
		w.until("a load", func() bool {
			return v.has(func(e watched) bool {
				return e.Kind == "loads" && len(e.Body.Loads) == 1 && e.Body.Loads[0].ControllerID == "mc-1" && e.Body.Loads[0].CurrentMeetings == 7
			})
		})
		w.operate(http.MethodPost, "mc-1/drain", `{"reason":"kernel","force":true}`)
		w.until("a drain", func() bool { return v.shows("mc-1", "draining") })
		w.register("mc-1", with(registration(), "max_meetings", 77))
		w.until("limits, which the history does not tell", func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.fleet["mc-1"].MaxMeetings == 77
		})
		w.heartbeat("mc-1", with(load(), "capacity", map[string]any{}))
		w.until("that the last meeting is over", func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.fleet["mc-1"].Drained
		})
		w.operate(http.MethodDelete, "mc-1", "")
		w.until("a deregistration", func() bool { return v.shows("mc-1", "") })
		for _, e := range v.all() {
			if e.Body.AsOf.IsZero() {
				t.Errorf("an event without a time: %+v", e)
			}
		}
		w.heartbeat("before", load())
		w.until("the last change", func() bool { return v.shows("before", "healthy") })
		v.end()
		if got := w.get("/metrics", "").body; got == "" {
			t.Error("no metrics")
		}
	})
}

func TestAWatchIsResumed(t *testing.T) {
	onBothWays(t, func(t *testing.T, databaseURL string, open func(*world, watchOptions) *watcher) {
		w := newWorld(t, databaseURL, nil).ready()
		w.register("mc-1", registration())
		v := open(w, watchOptions{})
		w.until("the snapshot", v.complete)
		v.end()
		w.heartbeat("mc-1", load())
		w.register("mc-2", registration())
		resumed := open(w, watchOptions{after: v.lastID()})
		w.until("what was missed", func() bool { return resumed.shows("mc-1", "healthy") && resumed.shows("mc-2", "pending") })
		if resumed.has(func(e watched) bool { return e.Kind == "snapshot" }) {
			t.Errorf("events = %+v, want changes only", resumed.all())
		}
		for id, reason := range map[int64]string{1_000_000: "gone"} {
			beyond := open(w, watchOptions{after: id})
			w.until("a snapshot", beyond.complete)
			if got := beyond.all()[0].Body.Reason; got != reason {
				t.Errorf("a watch after %d begins with %q, want %q", id, got, reason)
			}
		}
	})
}

func TestAWatchEndsWithItsToken(t *testing.T) {
	onBothWays(t, func(t *testing.T, databaseURL string, open func(*world, watchOptions) *watcher) {
		w := newWorld(t, databaseURL, nil).ready()
		// A minute of leeway and a few seconds.
		v := open(w, watchOptions{token: w.issuer.token(nil, map[string]any{"scope": "gc:read", "exp": time.Now().Add(-57 * time.Second).Unix()})})
		w.until("the end", func() bool {
			return v.has(func(e watched) bool {
				return e.Kind == "error" && (e.gRPCCode == codes.Unauthenticated || e.Body.Error.Code == "INVALID_TOKEN")
			})
		})
		<-v.done
	})
}

func TestAWatchEndsWhenTheServerDrains(t *testing.T) {
	onBothWays(t, func(t *testing.T, databaseURL string, open func(*world, watchOptions) *watcher) {
		w := newWorld(t, databaseURL, nil).ready()
		v := open(w, watchOptions{})
		w.until("the snapshot", v.complete)
		w.stop()
		w.until("the end", func() bool {
			return v.has(func(e watched) bool {
				return e.Kind == "error" && (e.gRPCCode == codes.Unavailable || e.Body.Error.Code == "SERVICE_UNAVAILABLE")
			})
		})
		<-v.done
		w.end()
	})
}
