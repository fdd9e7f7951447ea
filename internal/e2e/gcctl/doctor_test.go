package gcctl_test

import (
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/daemon"
	"darktower.example/global-controller/internal/operatorcli"
	"darktower.example/global-controller/pkg/devauth"
)

// results runs the doctor and returns the findings, by the check.
func (w *world) results(code int, args ...string) map[string]string {
	w.t.Helper()
	got := w.want(code, append([]string{"doctor", "-o", "json"}, args...)...)
	results := make(map[string]string)
	for _, f := range decoded[[]struct{ Check, Result, Detail, Advice string }](w.t, got.out) {
		if f.Result == "FAIL" && f.Advice == "" {
			w.t.Errorf("%s failed without advice: %s", f.Check, f.Detail)
		}
		results[f.Check] += f.Result + " " + f.Detail + " → " + f.Advice + "\n"
	}
	return results
}

func (w *world) finds(results map[string]string, check, result string, parts ...string) {
	w.t.Helper()
	if !strings.HasPrefix(results[check], result+" ") {
		w.t.Errorf("%s = %q, want %s", check, results[check], result)
	}
	contains(w.t, check, results[check], parts...)
}

func TestTheDoctorFindsNothingWrong(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		atWork := regexp.MustCompile(`gc_health_checker_runs_total\{result="(idle|swept)"\} [1-9]`)
		w.until("the checker is at work", func() bool {
			_, body := w.get("/metrics", "")
			return atWork.Match(body)
		})
		w.threeEach()
		got := w.want(0, "doctor")
		contains(t, "doctor", got.out, "ok    configuration", "ok    address", "ok    gRPC health     serving", "ready: clock, heartbeats, keys, schema, server, store", "publishes 1 key",
			"for dev-reader, scopes gc:read", "takes the token", "agree to 30s", "are both dev", "6 controllers: 6 healthy")
		for _, word := range []string{"FAIL", "warn", "skip", "\x1b"} {
			if strings.Contains(got.out, word) {
				t.Errorf("the doctor says %q of what is well:\n%s", word, got.out)
			}
		}
	}, func(c *daemon.Config) { c.StalenessThreshold, c.ForceThreshold = 6*time.Second, true })
}

func TestTheDoctorFindsWhatIsDown(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.register(controllerOf("mc-1", "eu", 1))
	w.acHTTP.Close()
	r := w.results(1)
	w.finds(r, "auth controller", "FAIL", "refused", "gcctl dev")
	w.finds(r, "token", "FAIL", "gives no token")
	w.finds(r, "gRPC health", "ok")
	if _, looked := r["access"]; looked {
		t.Error("access was looked at without a token")
	}
	w.stop()
	r = w.results(1)
	w.finds(r, "address", "FAIL", "nobody answers", "gcctl dev")
	w.finds(r, "/ready", "FAIL", "no answer over HTTP")
	w.finds(w.results(1, "--address", "no-such-host.invalid:1", "--token-file", w.file("t", "a.b.c")), "address", "FAIL", "not known")
	w.finds(w.results(1, "--config", "/nowhere"), "configuration", "FAIL", "no context file")
}

func TestTheDoctorFindsWrongTokens(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.register(controllerOf("mc-1", "eu", 1))
	stranger, err := devauth.New("", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	other := httptest.NewServer(stranger)
	defer other.Close()
	r := w.results(1, "--ac", other.URL)
	w.finds(r, "token", "ok")
	w.finds(r, "access", "FAIL", "refuses the token", "AC_JWKS_URL")
	foreign, err := stranger.Token("ops", map[string]any{"scope": "gc:read"})
	if err != nil {
		t.Fatal(err)
	}
	w.finds(w.results(1, "--token-file", w.file("token", foreign)), "access", "FAIL")
	r = w.results(1, "--token-file", w.file("token", w.token("ops", "mc:register")))
	w.finds(r, "token", "FAIL", "may not read the fleet")
	w.finds(r, "access", "FAIL", "may not read the fleet")
	open := w.file("token", w.token("ops", "gc:admin"))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	w.finds(w.results(0, "--token-file", open), "secret", "warn", "chmod 600")
	w.finds(w.results(1, "--client", "dev-admin", "--client-secret-file", w.file("s", "wrong")), "token", "FAIL", "status 401", "client_id")
}

func TestTheDoctorComparesClocks(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.register(controllerOf("mc-1", "eu", 1))
	w.acDate = func() time.Time { return time.Now().Add(10 * time.Minute) }
	w.finds(w.results(1), "clocks", "FAIL", "the auth controller is 9m", "5m0s in the future", "NTP")
	conf := w.file("gc.conf", "JWT_CLOCK_SKEW_SECONDS=600\n")
	w.acDate = func() time.Time { return time.Now().Add(8 * time.Minute) }
	r := w.results(0, "--gc-config-file", conf)
	w.finds(r, "GC settings", "ok")
	w.finds(r, "clocks", "warn", "ahead of")
	w.acDate = func() time.Time { return time.Now().Add(-2 * time.Minute) }
	w.finds(w.results(0), "clocks", "warn", "1m5", "behind the Global Controller")
	w.acDate = nil
	w.change = func(p *operatorcli.Process) { p.Now = func() time.Time { return time.Now().Add(-time.Hour) } }
	w.finds(w.results(0), "clocks", "warn", "59m", "ahead of this machine")
	// Ages are not computed from this machine's clock.
	w.change = func(p *operatorcli.Process) { p.Now = func() time.Time { return time.Now().Add(time.Hour) } }
	if ls := w.want(0, "fleet", "ls").out; !regexp.MustCompile(`1/100 +5/5000 +12% +34% +[0-9]{1,2}s`).MatchString(ls) {
		t.Errorf("an age is not that of the heartbeat, under a minute:\n%s", ls)
	}
	w.finds(w.results(1, "--gc-config-file", w.file("gc.conf", "JWT_CLOCK_SKEW_SECONDS=6000\n")), "GC settings", "FAIL", "allowed is a whole number from 1 to 600")
}

func TestTheDoctorLooksAtTheFleet(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t, func(c *daemon.Config) { c.StalenessThreshold, c.ForceThreshold = time.Second, true })
	w.register(controllerOf("mc-1", "eu", 1))
	w.until("stale", func() bool { return strings.Contains(w.want(0, "fleet", "ls").out, "stale") })
	r := w.results(0)
	w.finds(r, "fleet", "warn", "1 controller is stale: mc-1", "gcctl deregister")
	w.finds(r, "regions", "warn", "eu", "gcctl regions")
	contains(t, "show", w.want(0, "fleet", "show", "mc-1").out, "silent for longer than the staleness threshold", "no heartbeat within")
	w.change = func(p *operatorcli.Process) { p.Version = "9.9" }
	w.finds(w.results(0), "versions", "warn", "gcctl is 9.9, the Global Controller dev")
	delete(w.env, "GCCTL_HTTP_ADDRESS")
	r = w.results(0)
	w.finds(r, "/ready", "skip", "http_address")
	w.finds(r, "clocks", "skip")
	// A Global Controller that does not speak TLS, and what is none at all.
	w.finds(w.results(1, "--tls"), "TLS", "FAIL", "does not speak TLS")
	w.finds(w.results(1, "--address", w.server.HTTPAddress()), "gRPC health", "FAIL", "HTTP address")
}
