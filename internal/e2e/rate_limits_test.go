package e2e

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"darktower.example/global-controller/internal/daemon"
)

var rateLimited = outcome{codes.ResourceExhausted, "Rate limit exceeded"}

// controllerLimitReached is the outcome for a subject that owns as many controllers as it may.
func controllerLimitReached(limit int) outcome {
	return outcome{codes.ResourceExhausted, fmt.Sprintf("Controller limit reached: this client owns %d controllers, "+
		"at most %d are allowed (GC_MAX_CONTROLLERS_PER_SUBJECT)", limit, limit)}
}

func TestRateLimits_KnownControllersAreExempt(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, sqliteURL(t), func(c *daemon.Config) { c.RateLimitPerMinute, c.ControllersPerSubject = 1, 3 }).waitReady()
	env.register("mc", registration())

	// Unknown controllers use up what is allowed to the subject that all of them share.
	for i := range 30 {
		env.send(protocols()[i%3], call{"RegisterMC", fmt.Sprintf("unknown-%d", i), registration(), env.controllerAuth()})
	}

	for _, via := range protocols() {
		for _, operation := range []string{"RegisterMC", "FastHeartbeat"} {
			got := env.send(via, call{operation, "one-more", validFields(operation), env.controllerAuth()})
			if want := controllerLimitReached(3); got != want {
				t.Errorf("%s: %s of an unknown controller = %v, want %v", via.name, operation, got, want)
			}
		}
		for range 20 {
			if got := env.send(via, call{"FastHeartbeat", "mc", fastHeartbeat(), env.controllerAuth()}); got != (outcome{}) {
				t.Fatalf("%s: a known controller's heartbeat = %v, want OK", via.name, got)
			}
		}
		if got := env.send(via, call{"RegisterMC", "mc", registration(), env.controllerAuth()}); got != (outcome{}) {
			t.Errorf("%s: a known controller's registration = %v, want OK", via.name, got)
		}
	}

	for range 30 {
		env.send(viaGRPC, call{"FastHeartbeat", "mc", fastHeartbeat(), nil})
	}
	if got := env.send(viaGRPC, call{"FastHeartbeat", "mc", fastHeartbeat(), nil}); got != rateLimited {
		t.Errorf("an address without tokens = %v, want %v", got, rateLimited)
	}
	if got := env.send(viaGRPC, call{"FastHeartbeat", "mc", fastHeartbeat(), env.controllerAuth()}); got != (outcome{}) {
		t.Errorf("a known controller from that address = %v, want OK", got)
	}
	if refused, ok := env.readMetric(`gc_rate_limited_total{endpoint="RegisterMC"}`); !ok || refused == 0 {
		t.Errorf("gc_rate_limited_total = %v, %v, want more than 0 after refusals", refused, ok)
	}
}

// TestRateLimits_ExhaustedCaller checks that a subject whose limit is exhausted can still use its known controllers.
func TestRateLimits_ExhaustedCaller(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) { c.RateLimitPerMinute, c.ControllersPerSubject = 1, 1 }).waitReady()
		invalidID := outcome{codes.InvalidArgument, "controller_id contains invalid characters"}

		for _, via := range protocols() {
			id := strings.ReplaceAll(via.name, " ", "-")
			other := id + "-2"
			auth := "Bearer " + env.issuer.token(nil, map[string]any{"sub": id})
			forbidden := "Bearer " + env.issuer.token(nil, map[string]any{"sub": id, "scope": "x"})

			for _, step := range []struct {
				name string
				call call
				want outcome
			}{
				{"not allowed", call{"FastHeartbeat", id, fastHeartbeat(), &forbidden}, outcome{codes.PermissionDenied, "Access denied"}},
				{"not allowed again", call{"FastHeartbeat", id, fastHeartbeat(), &forbidden}, rateLimited},
				{"not allowed either", call{"RegisterMC", id, registration(), &forbidden}, rateLimited},
				{"new", call{"RegisterMC", id, registration(), &auth}, outcome{}},
				{"another new one", call{"RegisterMC", other, registration(), &auth}, controllerLimitReached(1)},
				{"known", call{"RegisterMC", id, registration(), &auth}, outcome{}},
				{"heartbeat of a known one", call{"FastHeartbeat", id, fastHeartbeat(), &auth}, outcome{}},
				{"full heartbeat of a known one", call{"ComprehensiveHeartbeat", id, comprehensiveHeartbeat(), &auth}, outcome{}},
				{"heartbeat of an unknown one", call{"FastHeartbeat", other, fastHeartbeat(), &auth}, controllerLimitReached(1)},
				{"invalid heartbeat", call{"FastHeartbeat", id, nil, &auth}, outcome{codes.InvalidArgument, "capacity is required"}},
				{"invalid id", call{"RegisterMC", "a.b", registration(), &auth}, invalidID},
			} {
				if got := env.send(via, step.call); got != step.want {
					t.Errorf("%s: %s = %v, want %v", via.name, step.name, got, step.want)
				}
			}

			if via.service == "" {
				continue // A path cannot contain the next id.
			}
			for _, operation := range []string{"RegisterMC", "FastHeartbeat", "ComprehensiveHeartbeat"} {
				if got := env.send(via, call{operation, "\x00", validFields(operation), &auth}); got != invalidID {
					t.Errorf("%s: %s of an id that PostgreSQL cannot store = %v, want %v", via.name, operation, got, invalidID)
				}
			}
		}
	})
}
