package e2e

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"darktower.example/global-controller/internal/daemon"
)

// steppedClock is a wall clock that a test sets.
type steppedClock struct{ offset atomic.Int64 }

func (c *steppedClock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func (c *steppedClock) step(offset time.Duration) { c.offset.Store(int64(offset)) }

func TestClock_StepMarksNoControllerStale(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		var wall steppedClock
		env := newEnvironment(t, databaseURL, func(c *daemon.Config) {
			withShortIntervals(c)
			c.Testing.WallClock = wall.now
		}).waitReady()
		senders := env.startHealthyFleet("mc")
		defer senders.stopAll()

		env.waitFor("healthy", func() bool { return env.listFleet()["mc"].Health == "healthy" })

		for _, step := range []time.Duration{2 * time.Hour, -10 * time.Minute} {
			senders.takeOutcomes()
			wall.step(step)
			env.checkSteppedClock(step)

			time.Sleep(env.cfg.StalenessThreshold + 2*time.Second)

			for got, n := range senders.takeOutcomes() {
				// A token that was verified before the step may be accepted.
				if got != unavailable && got != (outcome{}) {
					t.Errorf("%v: %d heartbeats ended with %v, want %v", step, n, got, unavailable)
				}
			}
		}

		if got := strings.Count(env.log.String(), "the clock of this host is wrong"); got != 1 {
			t.Errorf("the log names the clock %d times, want once:\n%s", got, env.log)
		}

		wall.step(0)
		env.waitReady()
		senders.takeOutcomes()
		if unhealthy := env.pollUnhealthy(env.cfg.StalenessThreshold + 6*time.Second); len(unhealthy) > 0 {
			t.Errorf("unhealthy after the steps: %v, want none", unhealthy)
		}

		for got, n := range senders.takeOutcomes() {
			if got != (outcome{}) {
				t.Errorf("after the steps %d heartbeats ended with %v, want OK", n, got)
			}
		}

		if got := env.get("/api/v1/controllers/mc/transitions", env.readerToken()).body; strings.Contains(got, "stale") {
			t.Errorf("history = %s, want nothing stale", got)
		}
	})
}

// checkSteppedClock checks that calls with a new token are refused as unavailable, and that /ready and the metrics show the
// wrong clock.
func (env *environment) checkSteppedClock(step time.Duration) {
	env.t.Helper()
	newToken := "Bearer " + env.issuer.token(nil, map[string]any{"jti": step.String()})
	for _, via := range protocols() {
		if got := env.send(via, call{"FastHeartbeat", "mc", fastHeartbeat(), &newToken}); got != unavailable {
			env.t.Errorf("%v, %s: the first heartbeat after the step = %v, want %v", step, via.name, got, unavailable)
		}
	}

	got := env.get("/ready", "")
	var body struct{ Checks map[string]string }
	got.decode(env.t, &body)
	if got.status != http.StatusServiceUnavailable || !strings.HasSuffix(body.Checks["clock"], "clock") {
		env.t.Errorf("%v: /ready = %d %s, want 503 and the clock", step, got.status, got.body)
	}

	references := []string{"auth_controller"}
	if strings.HasPrefix(env.cfg.DatabaseURL, "postgres") {
		references = append(references, "store")
	}

	for _, reference := range references {
		offset, isKnown := env.readMetric(`gc_clock_offset_seconds{reference="` + reference + `"}`)
		if !isKnown || (time.Duration(offset*float64(time.Second))-step).Abs() > 2*time.Second {
			env.t.Errorf("gc_clock_offset_seconds of %s = %v, %v, want about %v", reference, offset, isKnown, step.Seconds())
		}
	}
}
