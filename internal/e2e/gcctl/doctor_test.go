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

// doctorFindings runs the doctor and returns the findings by the name of the check.
func (e *environment) doctorFindings(wantCode int, args ...string) map[string]string {
	e.t.Helper()
	got := e.gcctl(wantCode, append([]string{"doctor", "-o", "json"}, args...)...)
	findings := make(map[string]string)
	for _, f := range decodeJSON[[]struct{ Check, Result, Detail, Advice string }](e.t, got.out) {
		if f.Result == "FAIL" && f.Advice == "" {
			e.t.Errorf("%s failed without advice: %s", f.Check, f.Detail)
		}
		findings[f.Check] += f.Result + " " + f.Detail + " → " + f.Advice + "\n"
	}
	return findings
}

func (e *environment) checkFinding(findings map[string]string, check, wantResult string, parts ...string) {
	e.t.Helper()
	if !strings.HasPrefix(findings[check], wantResult+" ") {
		e.t.Errorf("%s = %q, want %s", check, findings[check], wantResult)
	}
	checkContains(e.t, check, findings[check], parts...)
}

func TestDoctor_HealthyService(t *testing.T) {
	runOnBothStores(t, func(t *testing.T, e *environment) {
		hasSwept := regexp.MustCompile(`gc_health_checker_runs_total\{result="(idle|swept)"\} [1-9]`)
		e.waitUntil("the first sweep", func() bool {
			_, body := e.get("/metrics", "")
			return hasSwept.Match(body)
		})
		e.registerSix()

		got := e.gcctl(0, "doctor")
		checkContains(t, "doctor", got.out,
			"ok    configuration", "ok    address", "ok    gRPC health     serving",
			"ready: clock, heartbeats, keys, schema, server, store", "publishes 1 key", "for dev-reader, scopes gc:read",
			"accepts the token", "agree within 30s", "are both dev", "accepts writes; its schema is at migration",
			"1 replica of one version, with the same settings", "6 controllers: 6 healthy")
		for _, word := range []string{"FAIL", "warn", "skip", "\x1b"} {
			if strings.Contains(got.out, word) {
				t.Errorf("the doctor prints %q about a healthy service:\n%s", word, got.out)
			}
		}
	}, func(c *daemon.Config) { c.StalenessThreshold, c.ForceThreshold = 6*time.Second, true })
}

func TestDoctor_UnavailableServices(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.register(newTestController("mc-1", "eu", 1))
	e.acHTTP.Close()
	findings := e.doctorFindings(1)
	e.checkFinding(findings, "auth controller", "FAIL", "refused", "gcctl dev")
	e.checkFinding(findings, "token", "FAIL", "issues no token")
	e.checkFinding(findings, "gRPC health", "ok")
	if _, isChecked := findings["access"]; isChecked {
		t.Error("the access was checked without a token")
	}

	e.stopServer()
	findings = e.doctorFindings(1)
	e.checkFinding(findings, "address", "FAIL", "cannot connect", "gcctl dev")
	e.checkFinding(findings, "/ready", "FAIL", "no response over HTTP")

	token := e.secretFile("t", "a.b.c")
	e.checkFinding(e.doctorFindings(1, "--address", "no-such-host.invalid:1", "--token-file", token), "address", "FAIL", "cannot resolve")
	e.checkFinding(e.doctorFindings(1, "--config", "/nowhere"), "configuration", "FAIL", "no context file")
}

func TestDoctor_InvalidTokens(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.register(newTestController("mc-1", "eu", 1))
	otherAC, err := devauth.New("", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	other := httptest.NewServer(otherAC)
	defer other.Close()
	findings := e.doctorFindings(1, "--ac", other.URL)
	e.checkFinding(findings, "token", "ok")
	e.checkFinding(findings, "access", "FAIL", "rejects the token", "AC_JWKS_URL")

	foreign, err := otherAC.Token("ops", map[string]any{"scope": "gc:read"})
	if err != nil {
		t.Fatal(err)
	}
	e.checkFinding(e.doctorFindings(1, "--token-file", e.secretFile("token", foreign)), "access", "FAIL")
	findings = e.doctorFindings(1, "--token-file", e.secretFile("token", e.issueToken("ops", "mc:register")))
	e.checkFinding(findings, "token", "FAIL", "cannot read the fleet")
	e.checkFinding(findings, "access", "FAIL", "cannot read the fleet")

	readable := e.secretFile("token", e.issueToken("ops", "gc:admin"))
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	e.checkFinding(e.doctorFindings(0, "--token-file", readable), "secret", "warn", "chmod 600")
	wrong := e.secretFile("s", "wrong")
	e.checkFinding(e.doctorFindings(1, "--client", "dev-admin", "--client-secret-file", wrong), "token", "FAIL", "status 401", "client_id")
}

func TestDoctor_ClockDifferences(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.register(newTestController("mc-1", "eu", 1))
	setACClock := func(ahead time.Duration) { e.acDate = func() time.Time { return time.Now().Add(ahead) } }
	setOwnClock := func(ahead time.Duration) {
		e.editProcess = func(p *operatorcli.Process) { p.Now = func() time.Time { return time.Now().Add(ahead) } }
	}

	setACClock(10 * time.Minute)
	e.checkFinding(e.doctorFindings(1), "clocks", "FAIL", "the auth controller is 9m", "5m0s in the future", "NTP")
	setACClock(8 * time.Minute)
	findings := e.doctorFindings(0, "--gc-config-file", e.secretFile("gc.conf", "JWT_CLOCK_SKEW_SECONDS=600\n"))
	e.checkFinding(findings, "GC settings", "ok")
	e.checkFinding(findings, "clocks", "warn", "ahead of")
	setACClock(-2 * time.Minute)
	e.checkFinding(e.doctorFindings(0), "clocks", "warn", "1m5", "behind the Global Controller")

	e.acDate = nil
	setOwnClock(-time.Hour)
	e.checkFinding(e.doctorFindings(0), "clocks", "warn", "59m", "ahead of this machine")
	setOwnClock(time.Hour)
	if ls := e.gcctl(0, "fleet", "ls").out; !regexp.MustCompile(`1/100 +5/5000 +12% +34% +[0-9]{1,2}s`).MatchString(ls) {
		t.Errorf("the age of the last heartbeat is not below a minute, so this machine's clock has an effect:\n%s", ls)
	}
	invalid := e.secretFile("gc.conf", "JWT_CLOCK_SKEW_SECONDS=6000\n")
	e.checkFinding(e.doctorFindings(1, "--gc-config-file", invalid), "GC settings", "FAIL", "allowed is a whole number from 1 to 600")
}

func TestDoctor_StaleControllers(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t, func(c *daemon.Config) { c.StalenessThreshold, c.ForceThreshold = time.Second, true })
	e.register(newTestController("mc-1", "eu", 1))
	e.waitUntil("stale", func() bool { return strings.Contains(e.gcctl(0, "fleet", "ls").out, "stale") })

	findings := e.doctorFindings(0)
	e.checkFinding(findings, "fleet", "warn", "1 controller is stale: mc-1", "gcctl deregister")
	e.checkFinding(findings, "regions", "warn", "eu", "gcctl regions")
	checkContains(t, "show", e.gcctl(0, "fleet", "show", "mc-1").out, "no heartbeat within the staleness threshold")
}

func TestDoctor_WrongAddresses(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnvironment(t)
	e.register(newTestController("mc-1", "eu", 1))
	e.editProcess = func(p *operatorcli.Process) { p.Version = "9.9" }
	e.checkFinding(e.doctorFindings(0), "versions", "warn", "gcctl is 9.9, the Global Controller dev")

	delete(e.env, "GCCTL_HTTP_ADDRESS")
	findings := e.doctorFindings(0)
	e.checkFinding(findings, "/ready", "skip", "http_address")
	e.checkFinding(findings, "clocks", "skip")
	e.checkFinding(e.doctorFindings(1, "--tls"), "TLS", "FAIL", "does not use TLS")
	e.checkFinding(e.doctorFindings(1, "--address", e.server.HTTPAddress()), "gRPC health", "FAIL", "HTTP address")
}
