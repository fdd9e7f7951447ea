package e2e

import (
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// forEachWatch runs a test for each store with a watch over gRPC and with one over HTTP.
func forEachWatch(t *testing.T, test func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient)) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		for name, open := range watchTransports() {
			t.Run(name, func(t *testing.T) { test(t, databaseURL, open) })
		}
	})
}

func isSnapshot(e watched) bool { return e.Kind == "snapshot" }

// isError returns a function that reports whether a watch ended with an error.
func isError(code codes.Code, httpCode string) func(watched) bool {
	return func(e watched) bool {
		return e.Kind == "error" && (e.gRPCCode == code || e.Body.Error.Code == httpCode)
	}
}

func TestWatch_ShowsChanges(t *testing.T) {
	forEachWatch(t, func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		env.register("before", registration())
		v := open(env, watchOptions{loads: true})
		env.waitFor("the snapshot", v.isComplete)
		env.waitFor("a controller of before the watch", func() bool { return v.showsState("before", "pending") })

		env.register("mc-1", registration())
		env.waitFor("a registration", func() bool { return v.showsState("mc-1", "pending") })
		env.heartbeat("mc-1", fastHeartbeat())
		env.waitFor("a state", func() bool { return v.showsState("mc-1", "healthy") })
		env.heartbeat("mc-1", with(fastHeartbeat(), "capacity", map[string]any{"current_meetings": 7}))
		env.waitFor("a load", func() bool {
			return v.hasEvent(func(e watched) bool {
				return e.Kind == "loads" && len(e.Body.Loads) == 1 && e.Body.Loads[0] == watchedLoad{"mc-1", 7}
			})
		})

		env.sendOperatorCall(http.MethodPost, "mc-1/drain", `{"reason":"kernel","force":true}`)
		env.waitFor("a drain", func() bool { return v.showsState("mc-1", "draining") })
		env.register("mc-1", with(registration(), "max_meetings", 77))
		env.waitFor("limits, which are not in the history", func() bool { return v.shown("mc-1").MaxMeetings == 77 })
		env.heartbeat("mc-1", with(fastHeartbeat(), "capacity", map[string]any{}))
		env.waitFor("the end of the last meeting", func() bool { return v.shown("mc-1").Drained })
		env.sendOperatorCall(http.MethodDelete, "mc-1", "")
		env.waitFor("a deregistration", func() bool { return v.showsState("mc-1", "") })

		for _, e := range v.allEvents() {
			if e.Body.AsOf == "" {
				t.Errorf("an event without a time: %+v", e)
			}
		}
		env.heartbeat("before", fastHeartbeat())
		env.waitFor("the last change", func() bool { return v.showsState("before", "healthy") })
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
		env.waitFor("the missed changes", func() bool {
			return resumed.showsState("mc-1", "healthy") && resumed.showsState("mc-2", "pending")
		})
		if resumed.hasEvent(isSnapshot) {
			t.Errorf("events = %+v, want changes only", resumed.allEvents())
		}

		beyond := open(env, watchOptions{after: 1_000_000})
		env.waitFor("a snapshot", beyond.isComplete)
		if got := beyond.allEvents()[0].Body.Reason; got != "gone" {
			t.Errorf("a watch after an id of the future begins with %q, want gone", got)
		}
	})
}

func TestWatch_EndsWithItsToken(t *testing.T) {
	forEachWatch(t, func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		// Expired tokens are accepted for 60 s, of which 3 s are left.
		expiry := time.Now().Add(-57 * time.Second).Unix()
		v := open(env, watchOptions{token: env.issuer.token(nil, map[string]any{"scope": "gc:read", "exp": expiry})})
		env.waitFor("the end", func() bool { return v.hasEvent(isError(codes.Unauthenticated, "INVALID_TOKEN")) })
		<-v.done
	})
}

func TestWatch_EndsAtShutdown(t *testing.T) {
	forEachWatch(t, func(t *testing.T, databaseURL string, open func(*environment, watchOptions) *watchClient) {
		env := newEnvironment(t, databaseURL, nil).waitReady()
		v := open(env, watchOptions{})
		env.waitFor("the snapshot", v.isComplete)
		env.beginShutdown()
		env.waitFor("the end", func() bool { return v.hasEvent(isError(codes.Unavailable, "SERVICE_UNAVAILABLE")) })
		<-v.done
		env.shutDown()
	})
}
