package e2e

import (
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// forEachWatch runs a test with a watch over gRPC and with one over HTTP.
func forEachWatch(t *testing.T, test func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient)) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		t.Run("grpc", func(t *testing.T) { test(t, databaseURL, (*environment).watchGRPC) })
		t.Run("http", func(t *testing.T) { test(t, databaseURL, (*environment).watchHTTP) })
	})
}

func TestWatch_ShowsChanges(t *testing.T) {
	forEachWatch(t, func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.register("before", registration())
		v := open(env, watchOptions{loads: true})
		env.waitFor("the snapshot", v.isComplete)
		env.waitFor("who was there before", func() bool { return v.showsState("before", "pending") })
		env.register("mc-1", registration())
		env.waitFor("a registration", func() bool { return v.showsState("mc-1", "pending") })
		env.heartbeat("mc-1", fastHeartbeat())
		env.waitFor("a state", func() bool { return v.showsState("mc-1", "healthy") })
		env.heartbeat("mc-1", with(fastHeartbeat(), "capacity", map[string]any{"current_meetings": 7}))
		env.waitFor("a load", func() bool {
			return v.hasEvent(func(e watched) bool {
				return e.Kind == "loads" && len(e.Body.Loads) == 1 && e.Body.Loads[0].ControllerID == "mc-1" && e.Body.Loads[0].CurrentMeetings == 7
			})
		})

		env.sendOperatorCall(http.MethodPost, "mc-1/drain", `{"reason":"kernel","force":true}`)
		env.waitFor("a drain", func() bool { return v.showsState("mc-1", "draining") })
		env.register("mc-1", with(registration(), "max_meetings", 77))
		env.waitFor("limits, which the history does not tell", func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.fleet["mc-1"].MaxMeetings == 77
		})

		env.heartbeat("mc-1", with(fastHeartbeat(), "capacity", map[string]any{}))
		env.waitFor("that the last meeting is over", func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.fleet["mc-1"].Drained
		})

		env.sendOperatorCall(http.MethodDelete, "mc-1", "")
		env.waitFor("a deregistration", func() bool { return v.showsState("mc-1", "") })
		for _, e := range v.allEvents() {
			if e.Body.AsOf.IsZero() {
				t.Errorf("an event without a time: %+v", e)
			}
		}

		env.heartbeat("before", fastHeartbeat())
		env.waitFor("the last change", func() bool { return v.showsState("before", "healthy") })
		v.close()
		if got := env.get("/metrics", "").body; got == "" {
			t.Error("no metrics")
		}
	})
}

func TestWatch_Resume(t *testing.T) {
	forEachWatch(t, func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.register("mc-1", registration())
		v := open(env, watchOptions{})
		env.waitFor("the snapshot", v.isComplete)
		v.close()
		env.heartbeat("mc-1", fastHeartbeat())
		env.register("mc-2", registration())
		resumed := open(env, watchOptions{after: v.lastID()})
		env.waitFor("what was missed", func() bool { return resumed.showsState("mc-1", "healthy") && resumed.showsState("mc-2", "pending") })
		if resumed.hasEvent(func(e watched) bool { return e.Kind == "snapshot" }) {
			t.Errorf("events = %+v, want changes only", resumed.allEvents())
		}

		for id, reason := range map[int64]string{1_000_000: "gone"} {
			beyond := open(env, watchOptions{after: id})
			env.waitFor("a snapshot", beyond.isComplete)
			if got := beyond.allEvents()[0].Body.Reason; got != reason {
				t.Errorf("a watch after %d begins with %q, want %q", id, got, reason)
			}
		}
	})
}

func TestWatch_EndsWithItsToken(t *testing.T) {
	forEachWatch(t, func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		// A minute of leeway and a few seconds.
		v := open(env, watchOptions{token: env.issuer.token(nil, map[string]any{"scope": "gc:read", "exp": time.Now().Add(-57 * time.Second).Unix()})})
		env.waitFor("the end", func() bool {
			return v.hasEvent(func(e watched) bool {
				return e.Kind == "error" && (e.gRPCCode == codes.Unauthenticated || e.Body.Error.Code == "INVALID_TOKEN")
			})
		})
		<-v.done
	})
}

func TestWatch_EndsAtShutdown(t *testing.T) {
	forEachWatch(t, func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		v := open(env, watchOptions{})
		env.waitFor("the snapshot", v.isComplete)
		env.beginShutdown()
		env.waitFor("the end", func() bool {
			return v.hasEvent(func(e watched) bool {
				return e.Kind == "error" && (e.gRPCCode == codes.Unavailable || e.Body.Error.Code == "SERVICE_UNAVAILABLE")
			})
		})
		<-v.done
		env.shutDown()
	})
}
