package client

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// metricSum returns the sum of all series with that name that have all of the label values.
func metricSum(t *testing.T, registry *prometheus.Registry, name string, values ...string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatalf("Gather() = %v", err)
	}

	var sum float64
	for _, family := range families {
		if family.GetName() != name {
			continue
		}

		for _, m := range family.GetMetric() {
			var has []string
			for _, label := range m.GetLabel() {
				has = append(has, label.GetValue())
			}
			if !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(has, v) }) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}

	return sum
}

func TestMetrics_FollowClientState(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	gc := startGlobalController(t, true)
	cfg := testConfig(gc.address)
	cfg.Metrics = NewMetrics(registry)
	r := startClient(t, cfg)
	r.waitForEvent(t, EventRegistered)
	r.waitForCall(t, "a fast heartbeat", func(c Call) bool { return c.Method == methodFast })
	if n := metricSum(t, registry, "mc_client_clients", "registered"); n != 1 {
		t.Errorf("%v clients are registered, want 1", n)
	}

	gc.server.Stop()
	r.waitForEvent(t, EventLost)
	if n := metricSum(t, registry, "mc_client_clients", "lost"); n != 1 {
		t.Errorf("%v clients are lost, want 1", n)
	}

	r.stop(ErrAbandon)
	_ = r.waitForEnd(t)
	for _, c := range []struct {
		name   string
		values []string
		want   float64
	}{
		{"mc_client_clients", nil, 0},
		{"mc_client_registrations_total", nil, 1},
		{"mc_client_calls_total", []string{methodRegister, "OK"}, 1},
		{"mc_client_calls_total", []string{methodComprehensive, "OK"}, 1},
		{"mc_client_call_duration_seconds", []string{methodRegister}, 1},
	} {
		if got := metricSum(t, registry, c.name, c.values...); got != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.values, got, c.want)
		}
	}

	for _, name := range []string{"mc_client_failovers_total", "mc_client_streams_opened_total", "mc_client_calls_total"} {
		if got := metricSum(t, registry, name); got < 1 {
			t.Errorf("%s = %v, want at least 1", name, got)
		}
	}

	families, _ := registry.Gather()
	for _, family := range families {
		if text := family.String(); strings.Contains(text, cfg.ControllerID) || strings.Contains(text, gc.address) {
			t.Errorf("a label names a controller or an address: %s", text)
		}
	}
}
