package operatorcli

import (
	"fmt"
	"time"
)

// maxServerClockOffset is how far the Global Controller's clock may differ from a reference. Beyond it, the server verifies no
// tokens.
const maxServerClockOffset = time.Minute

// checkRefusedCallers checks the causes of refused callers. They are keys that are no longer published, clocks as the Global
// Controller compares them, failed TLS handshakes, and calls to unknown services.
func (d *doctor) checkRefusedCallers(body []byte) {
	before := len(d.findings)
	d.checkDroppedKeys(body)
	d.checkServerClock(body)
	d.checkHandshakes(body)
	d.checkUnknownCalls(body)

	if len(d.findings) == before {
		d.report("callers", resultOK, "", "none is refused because of a dropped key, a clock or TLS")
	}
}

func (d *doctor) checkDroppedKeys(body []byte) {
	if callers, _ := metricValue(body, "gc_dropped_key_callers", ""); callers > 0 {
		d.report("dropped keys", resultFail,
			"publish the key again until its tokens have expired; controllers renew them by time only, for up to an hour",
			"%s refused within the last 5 minutes: the key of their tokens is no longer published",
			formatCount(int64(callers), "controller was", "controllers were"))
	}
}

func (d *doctor) checkServerClock(body []byte) {
	references := []struct{ label, owner string }{
		{"auth_controller", "the auth controller's"},
		{"store", "the store's"},
	}
	for _, reference := range references {
		seconds, isFound := metricValue(body, "gc_clock_offset_seconds", fmt.Sprintf("{reference=%q}", reference.label))
		if offset := time.Duration(seconds * float64(time.Second)); isFound && offset.Abs() > maxServerClockOffset {
			d.report("clock there", resultFail,
				adviceBothClocks+"; while its own clock is wrong, the Global Controller verifies no tokens and is not ready",
				"the Global Controller's clock is %s %s", describeOffset(offset), reference.owner)
		}
	}
}

func (d *doctor) checkHandshakes(body []byte) {
	for _, transport := range []string{"grpc", "http"} {
		label := fmt.Sprintf("{transport=%q}", transport)
		if n, _ := metricValue(body, "gc_tls_handshake_failures_total", label); n > 0 {
			d.report("callers", resultWarning,
				"find the peers in the log of the Global Controller (TLS handshake failed); check that they trust its certificate and use TLS",
				"%s over %s failed since its start", formatCount(int64(n), "TLS handshake", "TLS handshakes"), transport)
		}
	}
}

func (d *doctor) checkUnknownCalls(body []byte) {
	if n, _ := metricValue(body, "gc_unknown_calls_total", `{transport="grpc"}`); n > 0 {
		d.report("callers", resultWarning, "find the peers and their calls in the log of the Global Controller (unknown call)",
			"%s over gRPC to services that it does not have, since its start", formatCount(int64(n), "call", "calls"))
	}
}
