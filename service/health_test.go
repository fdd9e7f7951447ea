package service

import (
	"testing"

	"pgregory.net/rapid"
)

func TestFacts_Health(t *testing.T) {
	tests := []struct {
		name  string
		facts Facts
		want  HealthStatus
	}{
		{"nothing but a report", Facts{Reported: HealthHealthy}, HealthHealthy},
		{"just registered", Facts{Reported: HealthPending}, HealthPending},
		{"stale", Facts{Reported: HealthHealthy, Stale: true}, HealthUnhealthy},
		{"stale before its first heartbeat", Facts{Reported: HealthPending, Stale: true}, HealthUnhealthy},
		{"drained by an operator", Facts{Reported: HealthHealthy, OperatorDraining: true}, HealthDraining},
		{"drained by an operator and stale", Facts{Reported: HealthUnhealthy, OperatorDraining: true, Stale: true}, HealthDraining},
		{"reports draining", Facts{Reported: HealthDraining}, HealthDraining},
		{"reports draining and is stale", Facts{Reported: HealthDraining, Stale: true}, HealthDraining},
	}

	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.facts.Health(); got != tc.want {
				t.Errorf("%+v.Health() = %q, want %q", tc.facts, got, tc.want)
			}
		})
	}
}

func TestFacts_HealthProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		facts := Facts{
			OperatorDraining: rapid.Bool().Draw(t, "operator draining"),
			Reported:         rapid.SampledFrom(HealthStatuses()).Draw(t, "reported"),
			Stale:            rapid.Bool().Draw(t, "stale"),
		}

		health := facts.Health()
		if !health.IsValid() {
			t.Fatalf("%+v.Health() = %q, want one of the five states", facts, health)
		}
		// Neither a report nor staleness ends an operator's drain.
		if facts.OperatorDraining && health != HealthDraining {
			t.Fatalf("%+v.Health() = %q, want draining", facts, health)
		}

		// After an undrain the health follows from the controller's own facts.
		undrained := Facts{Reported: facts.Reported, Stale: facts.Stale}
		if got := undrained.Health(); got == HealthHealthy && (facts.Stale || facts.Reported != HealthHealthy) {
			t.Fatalf("%+v.Health() = %q, which was not reported", undrained, got)
		}
	})
}

func TestHealthStatus_NumberRoundTrip(t *testing.T) {
	for _, status := range HealthStatuses() {
		if got := HealthStatusFromNumber(status.Number()); got != status {
			t.Errorf("HealthStatusFromNumber(%d) = %q, want %q", status.Number(), got, status)
		}
	}
	for _, unknown := range []int32{-1, 5, 1 << 30} {
		if got := HealthStatusFromNumber(unknown); got != HealthUnhealthy {
			t.Errorf("HealthStatusFromNumber(%d) = %q, want unhealthy", unknown, got)
		}
	}
}
