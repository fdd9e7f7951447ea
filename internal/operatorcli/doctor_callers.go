package operatorcli

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// metricValue returns the value of one series in the text of /metrics.
func metricValue(body []byte, name, labels string) (value float64, ok bool) {
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name+labels) + ` (\S+)$`).FindSubmatch(body)
	if found == nil {
		return 0, false
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	return value, err == nil
}

// tokenLeeway is by how much the Global Controller's clock may differ from a reference before it judges no tokens.
const tokenLeeway = time.Minute

// checkJudging checks the causes of refused callers: keys that are no longer published, clocks as the Global Controller compares
// them, and callers that do not get as far as a call.
func (d *doctor) checkJudging(body []byte) {
	wrong := false
	if callers, _ := metricValue(body, "gc_dropped_key_callers", ""); callers > 0 {
		wrong = true
		d.found("dropped keys", bad,
			"publish the key again until its tokens have run out; controllers renew them by time only, for up to an hour",
			"%s refused within the last 5 minutes: the key of their tokens is no longer published",
			counted(int64(callers), "controller was", "controllers were"))
	}

	for _, reference := range []struct{ label, words string }{{"auth_controller", "the auth controller's"}, {"store", "the store's"}} {
		seconds, ok := metricValue(body, "gc_clock_offset_seconds", fmt.Sprintf("{reference=%q}", reference.label))
		if offset := time.Duration(seconds * float64(time.Second)); ok && offset.Abs() > tokenLeeway {
			wrong = true
			d.found("clock there", bad,
				"have both machines set their clocks by NTP; while its own clock is wrong, the Global Controller judges no tokens and is not ready",
				"the Global Controller's clock is %s %s", aheadOrBehind(offset), reference.words)
		}
	}

	for _, transport := range []string{"grpc", "http"} {
		label := fmt.Sprintf("{transport=%q}", transport)
		if n, _ := metricValue(body, "gc_tls_handshake_failures_total", label); n > 0 {
			wrong = true
			d.found("callers", warning,
				"the log of the Global Controller names the peers (TLS handshake failed): do they trust its certificate, and do they speak TLS?",
				"%s over %s failed since its start", counted(int64(n), "TLS handshake", "TLS handshakes"), transport)
		}
	}

	if n, _ := metricValue(body, "gc_unknown_calls_total", `{transport="grpc"}`); n > 0 {
		wrong = true
		d.found("callers", warning, "the log of the Global Controller names the peers and what they call (call to what is not served)",
			"%s over gRPC to services that it does not have, since its start", counted(int64(n), "call", "calls"))
	}
	if !wrong {
		d.found("callers", fine, "", "none is refused because of a dropped key, a clock or TLS")
	}
}
