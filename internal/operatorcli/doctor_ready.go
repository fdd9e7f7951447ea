package operatorcli

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxResponseBytes limits how much of an HTTP response is read.
const maxResponseBytes = 8 << 20

// readyAdvice has the advice for each readiness check.
var readyAdvice = map[string]string{
	"store":      "check that the database runs and that DATABASE_URL is right; see the log of the Global Controller",
	"keys":       "check AC_JWKS_URL, and that the Global Controller can reach the auth controller",
	"clock":      "synchronize the clock of the Global Controller's machine with NTP; until then it verifies no tokens",
	"heartbeats": "see the log: heartbeats fail although beats are committed; look for locks on the table meeting_controllers",
	"schema":     "see the log; global-controller migrate status shows the versions of the schema",
	"server":     "this server is stopping: use another replica",
}

// stateAdvice has the advice for states that are more specific than the name of their readiness check.
var stateAdvice = map[string]string{
	"starting": "wait until the Global Controller has started; if this lasts, see its log",
	"incompatible schema": "a newer release changed the schema: replace this Global Controller with the newer release; " +
		"global-controller migrate status shows the versions",
}

// adviceForState returns the advice for a readiness check in a state.
func adviceForState(name, state string) string {
	return cmp.Or(stateAdvice[state], readyAdvice[name])
}

// checkReady reads the readiness checks over HTTP.
func (d *doctor) checkReady(ctx context.Context) {
	const check = "/ready"
	if d.target.httpAddress == "" {
		d.report(check, resultSkipped, "set http_address in the context, or give --http-address",
			"the HTTP address is not known, so readiness, clocks, versions and metrics cannot be checked")
		return
	}

	code, body, err := d.getHTTP(ctx, d.gcHTTP, d.httpURL(check), clockGC)
	if err != nil {
		d.report(check, resultFail, "check http_address against BIND_ADDRESS of the Global Controller", "no response over HTTP: %v", err)
		return
	}

	var ready struct {
		Ready  *bool             `json:"ready"`
		Checks map[string]string `json:"checks"`
	}
	if json.Unmarshal(body, &ready) != nil || ready.Ready == nil {
		d.report(check, resultFail, "check that http_address is the HTTP address of a Global Controller",
			"%s returned something else (status %d)", d.httpURL(check), code)
		return
	}

	names := slices.Sorted(maps.Keys(ready.Checks))
	if *ready.Ready {
		d.report(check, resultOK, "", "ready: %s", strings.Join(names, ", "))
		return
	}
	for _, name := range names {
		if state := ready.Checks[name]; state == "ok" {
			d.report(check, resultOK, "", "%s", name)
		} else {
			d.report(check, resultFail, adviceForState(name, state), "not ready: %s is %q", name, state)
		}
	}
}

// httpURL returns the URL of a path of the Global Controller.
func (d *doctor) httpURL(path string) string {
	base := strings.TrimSuffix(d.target.httpAddress, "/")
	if !strings.Contains(base, "://") {
		scheme := "http://"
		if d.target.tls != nil {
			scheme = "https://"
		}
		base = scheme + base
	}
	return base + path
}

// getHTTP makes a GET request, and records the offset of the server's clock under a name.
func (d *doctor) getHTTP(ctx context.Context, client *http.Client, url, clock string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}

	sent := d.cli.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()

	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		// The header has whole seconds, so the true time is half a second later on average.
		d.clocks[clock] = measureOffset(date.Add(500*time.Millisecond), sent, d.cli.Now(), 500*time.Millisecond)
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, maxResponseBytes))
	return response.StatusCode, body, err
}
