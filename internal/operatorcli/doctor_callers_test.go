package operatorcli

import (
	"fmt"
	"slices"
	"testing"
)

func TestDoctor_RefusedCallers(t *testing.T) {
	t.Parallel()
	const ok = "ok callers: none is refused because of a dropped key, a clock or TLS"

	for name, tc := range map[string]struct {
		body string
		want []string
	}{
		"nothing": {"gc_dropped_key_callers 0\n", []string{ok}},
		"small differences": {
			"gc_clock_offset_seconds{reference=\"store\"} -0.02\ngc_clock_offset_seconds{reference=\"auth_controller\"} 0.4\n",
			[]string{ok},
		},
		"a dropped key": {
			"gc_dropped_key_callers 17\n",
			[]string{"FAIL dropped keys: 17 controllers were refused within the last 5 minutes: the key of their tokens is no longer published"},
		},
		"one of a dropped key": {
			"gc_dropped_key_callers 1\n",
			[]string{"FAIL dropped keys: 1 controller was refused within the last 5 minutes: the key of their tokens is no longer published"},
		},
		"a wrong clock": {
			"gc_clock_offset_seconds{reference=\"auth_controller\"} 7200.4\n",
			[]string{"FAIL clock there: the Global Controller's clock is 2h00m ahead of the auth controller's"},
		},
		"handshakes and unknown services": {
			"gc_tls_handshake_failures_total{transport=\"grpc\"} 3\ngc_unknown_calls_total{transport=\"grpc\"} 1.2e+06\n" +
				"gc_unknown_calls_total{transport=\"http\"} 9\n",
			[]string{
				"warn callers: 3 TLS handshakes over grpc failed since its start",
				"warn callers: 1200000 calls over gRPC to services that it does not have, since its start",
			},
		},
	} {
		var got []string
		d := &doctor{onFinding: func(f finding) {
			got = append(got, fmt.Sprintf("%s %s: %s", f.Result, f.Check, f.Detail))
			if f.Result != resultOK && f.Advice == "" {
				t.Errorf("%s: %s has no advice", name, f.Check)
			}
		}}

		d.checkRefusedCallers([]byte(tc.body))
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
