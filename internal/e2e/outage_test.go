package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"darktower.example/global-controller/internal/testpg"
)

// TestOutage_StoreDownMarksNoControllerStale stops PostgreSQL for longer than the staleness threshold while controllers send
// heartbeats. Only the controller that stops during the outage is marked stale after it.
func TestOutage_StoreDownMarksNoControllerStale(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t)
	env := newEnvironment(t, cluster.URL(), withShortIntervals).waitReady()
	ids := make([]string, 8)
	for i := range ids {
		ids[i] = fmt.Sprintf("mc-%d", i)
	}
	for _, id := range append(ids, "mc-stopped") {
		env.register(id, registration())
	}

	running, stopped := env.startHeartbeats(ids...), env.startHeartbeats("mc-stopped")
	defer running.stopAll()

	env.waitFor("all healthy", func() bool {
		for _, c := range env.listFleet() {
			if c.Health != "healthy" {
				return false
			}
		}

		return true
	})

	// The hold after a first start is over, so that only the outage protects the running controllers.
	env.waitSweeps()

	cluster.Kill()
	stopped.stopAll()
	running.takeOutcomes()
	began := time.Now()
	env.waitFor("not ready", func() bool { return env.get("/ready", "").status == http.StatusServiceUnavailable })
	time.Sleep(env.cfg.StalenessThreshold + 3*time.Second - time.Since(began))

	for got, n := range running.takeOutcomes() {
		if got != unavailable {
			t.Errorf("during the outage %d heartbeats ended with %v, want %v", n, got, unavailable)
		}
	}

	if got := env.send(viaHTTP, call{"RegisterMC", "mc-new", registration(), env.controllerAuth()}); got != unavailable {
		t.Errorf("registering during the outage = %v, want %v", got, unavailable)
	}

	cluster.Restart()
	recovered := time.Now()
	env.waitReady()
	running.takeOutcomes()

	limit := env.cfg.StalenessThreshold + sweepInterval
	unhealthy := env.pollUnhealthy(limit + 4*time.Second)
	for _, id := range ids {
		if at, ok := unhealthy[id]; ok {
			t.Errorf("%s runs and was unhealthy %v after recovery", id, at.Sub(recovered))
		}
	}

	at, ok := unhealthy["mc-stopped"]
	if took := at.Sub(recovered); !ok || took > limit {
		t.Errorf("the controller that stopped was unhealthy: %v, %v after recovery; want at most %v", ok, took, limit)
	}
	t.Logf("the controller that stopped was unhealthy %v after recovery", at.Sub(recovered))
	for got, n := range running.takeOutcomes() {
		if got != (outcome{}) {
			t.Errorf("after recovery %d heartbeats ended with %v, want OK", n, got)
		}
	}
}

// TestOutage_StoreFrozenMarksNoControllerStale freezes PostgreSQL: no statement fails, and none completes.
func TestOutage_StoreFrozenMarksNoControllerStale(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t)
	env := newEnvironment(t, cluster.URL(), withShortIntervals).waitReady()
	senders := env.startHealthyFleet("mc")
	defer senders.stopAll()

	env.waitFor("healthy", func() bool { return env.listFleet()["mc"].Health == "healthy" })

	cluster.Pause()
	senders.takeOutcomes()
	began := time.Now()
	if got := env.send(viaGRPC, call{"FastHeartbeat", "mc", fastHeartbeat(), env.controllerAuth()}); got != unavailable {
		t.Errorf("heartbeat to a frozen store = %v, want %v", got, unavailable)
	}
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("it ended after %v, want before controllers give up at 10 s", took)
	}

	time.Sleep(max(0, env.cfg.StalenessThreshold+3*time.Second-time.Since(began)))

	cluster.Resume()
	env.waitReady()
	if unhealthy := env.pollUnhealthy(env.cfg.StalenessThreshold + 6*time.Second); len(unhealthy) > 0 {
		t.Errorf("unhealthy after the freeze: %v, want none", unhealthy)
	}
}

// TestOutage_RestartMarksNoControllerStale checks that a server finds the gap in the store that another process left.
func TestOutage_RestartMarksNoControllerStale(t *testing.T) {
	forEachStore(t, func(t *testing.T, databaseURL string) {
		env := newEnvironment(t, databaseURL, withShortIntervals).waitReady()
		env.registerHealthy("mc-running", "mc-stopped")
		env.shutDown()
		time.Sleep(env.cfg.StalenessThreshold + time.Second)
		env.start()
		env.waitReady()

		restarted := time.Now()
		running := env.startHeartbeats("mc-running")
		defer running.stopAll()
		unhealthy := env.pollUnhealthy(env.cfg.StalenessThreshold + 6*time.Second)
		if at, ok := unhealthy["mc-running"]; ok {
			t.Errorf("the running controller was unhealthy %v after the restart", at.Sub(restarted))
		}
		if at, ok := unhealthy["mc-stopped"]; !ok || at.Sub(restarted) > env.cfg.StalenessThreshold+sweepInterval {
			t.Errorf("the controller that stopped was unhealthy: %v, %v after the restart", ok, at.Sub(restarted))
		}
	})
}
