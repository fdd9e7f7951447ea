package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"darktower.example/global-controller/internal/daemon"
)

var invalidToken = outcome{codes.Unauthenticated, "Invalid token"}

func TestKeys_UnknownKeyWhileIssuerUnreachable(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		ac := newRotatingIssuer(t)
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) {
			withShortIntervals(c)
			c.JWKSURL = ac.server.URL
		}).waitReady()
		heartbeat := func(via protocol, id string, authorization *string) outcome {
			return env.send(via, call{"FastHeartbeat", id, fastHeartbeat(), authorization})
		}
		for _, id := range []string{"mc-old", "mc-new"} {
			if got := env.send(viaGRPC, call{"RegisterMC", id, registration(), ac.sign("old", nil)}); got != (outcome{}) {
				t.Fatalf("RegisterMC(%s) = %v", id, got)
			}
		}

		if got := heartbeat(viaGRPC, "mc-new", ac.sign("new", nil)); got != invalidToken {
			t.Errorf("a key that is not published = %v, want %v", got, invalidToken)
		}

		// The auth controller publishes a new key, and this replica cannot reach it.
		ac.publish("old", "new")
		ac.setUnreachable(true)

		for _, via := range protocols() {
			env.waitFor("the limit on fetches allows one", func() bool {
				return heartbeat(via, "mc-new", ac.sign("new", nil)) != invalidToken
			})
			if got := heartbeat(via, "mc-new", ac.sign("new", nil)); got != unavailable {
				t.Errorf("%s: an unknown key while the auth controller is unreachable = %v, want %v", via.name, got, unavailable)
			}
			if got := heartbeat(via, "mc-old", ac.sign("old", nil)); got != (outcome{}) {
				t.Errorf("%s: a known key = %v, want OK", via.name, got)
			}
		}

		env.waitFor("not ready", func() bool {
			got := env.get("/ready", "")
			return got.status == http.StatusServiceUnavailable && strings.Contains(got.body, `"keys":"cannot be fetched`)
		})

		// Without such callers it is ready again, because the known keys serve all others.
		env.waitReady()

		for _, invalid := range []*string{
			new("Bearer x"),
			ac.sign("new", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
			ac.sign("new", map[string]any{"sub": nil}),
		} {
			if got := heartbeat(viaGRPC, "mc-new", invalid); got != invalidToken {
				t.Errorf("a token that is invalid with any key = %v, want %v", got, invalidToken)
			}
		}

		if got := env.get("/ready", "").status; got != http.StatusOK {
			t.Errorf("/ready = %d after tokens that are invalid with any key, want 200", got)
		}

		ac.setUnreachable(false)
		env.waitFor("the new key", func() bool { return heartbeat(viaGRPC, "mc-new", ac.sign("new", nil)) == outcome{} })
	})
}

func TestKeys_DroppedKeyIsShown(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		ac := newRotatingIssuer(t)
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) {
			c.JWKSURL, c.LogLevel = ac.server.URL, "info"
			c.ForceThreshold, c.StalenessThreshold = true, 5*time.Second
		}).waitReady()

		for _, id := range []string{"mc-1", "mc-2", "mc-stopped"} {
			for _, operation := range []call{
				{"RegisterMC", id, registration(), ac.sign("old", nil)},
				{"FastHeartbeat", id, fastHeartbeat(), ac.sign("old", nil)},
			} {
				if got := env.send(viaGRPC, operation); got != (outcome{}) {
					t.Fatalf("%s of %s = %v", operation.operation, id, got)
				}
			}
		}

		// A token of the new key makes the server fetch the keys, without the old one.
		ac.publish("new")
		readAs := func(path string) httpResponse {
			return env.get(path, strings.TrimPrefix(*ac.sign("new", map[string]any{"scope": "gc:read"}), "Bearer "))
		}
		env.waitFor("the new key", func() bool { return readAs("/api/v1/controllers").status == http.StatusOK })
		health := func(id string) string {
			var c controllerBody
			readAs("/api/v1/controllers/"+id).decode(t, &c)
			return c.Health
		}

		oldToken := ac.sign("old", nil)

		env.waitFor("all unhealthy", func() bool {
			for _, id := range []string{"mc-1", "mc-2"} {
				if got := env.send(viaGRPC, call{"FastHeartbeat", id, fastHeartbeat(), oldToken}); got != invalidToken {
					t.Errorf("a dropped key = %v, want %v", got, invalidToken)
				}
			}

			return health("mc-1") == "unhealthy" && health("mc-stopped") == "unhealthy"
		})

		if got, _ := env.readMetric("gc_dropped_key_callers"); got != 2 {
			t.Errorf("gc_dropped_key_callers = %v, want 2", got)
		}
		history := func(id string) string { return readAs("/api/v1/controllers/" + id + "/transitions").body }
		refused := regexp.MustCompile(
			`"reason":"no heartbeat for [^"]*; \d+ calls( or more)? in its name were refused meanwhile: key no longer published"`,
		)
		if got := history("mc-1"); !refused.MatchString(got) {
			t.Errorf("history of a refused controller = %s, want the refusals in it", got)
		}

		if got := history("mc-stopped"); strings.Contains(got, "refused") {
			t.Errorf("history of a controller that stopped = %s, want no refusal", got)
		}
		stale := regexp.MustCompile(`msg="controller is stale" controller_id=mc-1 .*reason="[^"]*refused meanwhile`)
		if got := env.log.String(); !stale.MatchString(got) {
			t.Errorf("log = %s, want the refusals in the line about the stale controller", got)
		}
	})
}
