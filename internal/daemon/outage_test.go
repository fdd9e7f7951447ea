package daemon

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"darktower.example/global-controller/internal/testpg"
)

// quick makes an hour's silence one of seconds: controllers beat each 500 ms and may be silent for 6 s.
func quick(c *Config) {
	c.FastInterval, c.ComprehensiveInterval, c.StalenessThreshold = 500*time.Millisecond, 1500*time.Millisecond, 6*time.Second
}

// beating is a fleet that keeps sending heartbeats and counts how they were answered.
type beating struct {
	answers sync.Map // outcome -> *atomic.Int64
	epoch   atomic.Int64
	stop    context.CancelFunc
	all     sync.WaitGroup
}

func (w *world) beat(ids ...string) *beating {
	ctx, cancel := context.WithCancel(context.Background())
	b := &beating{stop: cancel}
	for _, id := range ids {
		b.all.Go(func() {
			ticker := time.NewTicker(w.cfg.FastInterval)
			defer ticker.Stop()
			for ctx.Err() == nil {
				begun := b.epoch.Load()
				got := w.make(ways()[0], call{"FastHeartbeat", id, load(), w.mc()})
				if begun == b.epoch.Load() {
					count, _ := b.answers.LoadOrStore(got, &atomic.Int64{})
					count.(*atomic.Int64).Add(1)
				}
				select {
				case <-ctx.Done():
				case <-ticker.C:
				}
			}
		})
	}
	return b
}

func (b *beating) end() {
	b.stop()
	b.all.Wait()
}

// seen returns how often each answer came, and forgets it. Those to calls that are under way are not seen at all: they
// began before whatever comes next.
func (b *beating) seen() map[outcome]int64 {
	b.epoch.Add(1)
	found := make(map[outcome]int64)
	b.answers.Range(func(key, value any) bool {
		if n := value.(*atomic.Int64).Swap(0); n > 0 {
			found[key.(outcome)] = n
		}
		return true
	})
	return found
}

// watchFor looks at the fleet until the time is over and returns the first time at which each controller was
// unhealthy.
func (w *world) watchFor(d time.Duration) map[string]time.Time {
	w.t.Helper()
	unhealthy := make(map[string]time.Time)
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for id, c := range w.fleet() {
			if _, ok := unhealthy[id]; c.Health == "unhealthy" && !ok {
				unhealthy[id] = time.Now()
			}
		}
	}
	return unhealthy
}

// TestAnOutageOfTheStoreKillsNobody stops PostgreSQL for longer than the staleness threshold while heartbeats come in.
func TestAnOutageOfTheStoreKillsNobody(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t)
	w := newWorld(t, cluster.URL(), quick).ready()
	ids := make([]string, 8)
	for i := range ids {
		ids[i] = fmt.Sprintf("mc-%d", i)
	}
	for _, id := range append(ids, "mc-dead") {
		if got := w.make(ways()[0], call{"RegisterMC", id, registration(), w.mc()}); got != (outcome{}) {
			t.Fatalf("RegisterMC(%s) = %v", id, got)
		}
	}
	living, dying := w.beat(ids...), w.beat("mc-dead")
	defer living.end()
	w.until("everybody healthy", func() bool {
		for _, c := range w.fleet() {
			if c.Health != "healthy" {
				return false
			}
		}
		return true
	})
	// Past the hold that follows a first start, so that what protects the living is what the outage left.
	w.until("the checker at work", func() bool { return strings.Contains(w.get("/metrics", "").body, "\ngc_health_checker_hold 0\n") })

	cluster.Kill()
	dying.end() // It dies in the gap.
	living.seen()
	began := time.Now()
	w.until("not ready", func() bool { return w.get("/ready", "").status == http.StatusServiceUnavailable })
	time.Sleep(w.cfg.StalenessThreshold + 3*time.Second - time.Since(began))
	unavailable := outcome{codes.Unavailable, "Service temporarily unavailable"}
	for got, n := range living.seen() {
		if got != unavailable {
			t.Errorf("during the outage %d heartbeats were answered %v, want %v", n, got, unavailable)
		}
	}
	if got := w.make(ways()[2], call{"RegisterMC", "mc-new", registration(), w.mc()}); got != unavailable {
		t.Errorf("registering during the outage = %v, want %v", got, unavailable)
	}

	cluster.Restart()
	recovered := time.Now()
	w.until("ready again", func() bool { return w.get("/ready", "").status == http.StatusOK })
	living.seen()
	const checks = 5 * time.Second
	unhealthy := w.watchFor(w.cfg.StalenessThreshold + checks + 4*time.Second)
	for _, id := range ids {
		if at, ok := unhealthy[id]; ok {
			t.Errorf("%s lives and was unhealthy %v after recovery", id, at.Sub(recovered))
		}
	}
	at, ok := unhealthy["mc-dead"]
	if took := at.Sub(recovered); !ok || took > w.cfg.StalenessThreshold+checks {
		t.Errorf("the dead one was unhealthy: %v, %v after recovery; want at most %v", ok, took, w.cfg.StalenessThreshold+checks)
	}
	t.Logf("the dead one was unhealthy %v after recovery", at.Sub(recovered))
	for got, n := range living.seen() {
		if got != (outcome{}) {
			t.Errorf("after recovery %d heartbeats were answered %v, want OK", n, got)
		}
	}
}

// TestAFrozenStoreKillsNobody freezes PostgreSQL: nothing fails, nothing answers.
func TestAFrozenStoreKillsNobody(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t)
	w := newWorld(t, cluster.URL(), quick).ready()
	if got := w.make(ways()[0], call{"RegisterMC", "mc", registration(), w.mc()}); got != (outcome{}) {
		t.Fatalf("RegisterMC() = %v", got)
	}
	living := w.beat("mc")
	defer living.end()
	w.until("healthy", func() bool { return w.fleet()["mc"].Health == "healthy" })
	w.until("the checker at work", func() bool { return strings.Contains(w.get("/metrics", "").body, "\ngc_health_checker_hold 0\n") })
	cluster.Pause()
	living.seen()
	// The call that hangs is answered at the store's bound.
	began := time.Now()
	if got, want := w.make(ways()[0], call{"FastHeartbeat", "mc", load(), w.mc()}), (outcome{codes.Unavailable, "Service temporarily unavailable"}); got != want {
		t.Errorf("heartbeat to a frozen store = %v, want %v", got, want)
	}
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("it was answered after %v, want before controllers give up at 10 s", took)
	}
	time.Sleep(max(0, w.cfg.StalenessThreshold+3*time.Second-time.Since(began)))
	cluster.Resume()
	w.until("ready again", func() bool { return w.get("/ready", "").status == http.StatusOK })
	if unhealthy := w.watchFor(w.cfg.StalenessThreshold + 6*time.Second); len(unhealthy) > 0 {
		t.Errorf("unhealthy after the freeze: %v, want nobody", unhealthy)
	}
}

// TestARestartKillsNobody holds that the gap is found in the store, by another process than the one that left it.
func TestARestartKillsNobody(t *testing.T) {
	onBothStores(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL, quick).ready()
		for _, id := range []string{"mc-lives", "mc-dead"} {
			if got := w.make(ways()[0], call{"RegisterMC", id, registration(), w.mc()}); got != (outcome{}) {
				t.Fatalf("RegisterMC(%s) = %v", id, got)
			}
			if got := w.make(ways()[0], call{"FastHeartbeat", id, load(), w.mc()}); got != (outcome{}) {
				t.Fatalf("FastHeartbeat(%s) = %v", id, got)
			}
		}
		w.end()
		time.Sleep(w.cfg.StalenessThreshold + time.Second)
		w.run()
		w.ready()
		restarted := time.Now()
		living := w.beat("mc-lives")
		defer living.end()
		unhealthy := w.watchFor(w.cfg.StalenessThreshold + 6*time.Second)
		if at, ok := unhealthy["mc-lives"]; ok {
			t.Errorf("the living one was unhealthy %v after the restart", at.Sub(restarted))
		}
		if at, ok := unhealthy["mc-dead"]; !ok || at.Sub(restarted) > w.cfg.StalenessThreshold+5*time.Second {
			t.Errorf("the dead one was unhealthy: %v, %v after the restart", ok, at.Sub(restarted))
		}
	})
}

// TestTheServiceWaitsForItsStore starts the service before its database.
func TestTheServiceWaitsForItsStore(t *testing.T) {
	t.Parallel()
	cluster := testpg.NewCluster(t)
	cluster.Kill()
	w := newWorld(t, cluster.URL(), nil)
	w.until("alive", func() bool { return w.get("/health", "").body == "OK" })
	unavailable := outcome{codes.Unavailable, "Service temporarily unavailable"}
	w.until("a key", func() bool { return strings.Contains(w.get("/ready", "").body, `"keys":"ok"`) })
	for _, by := range ways() {
		if got := w.make(by, call{"FastHeartbeat", "mc", load(), w.mc()}); got != unavailable {
			t.Errorf("%s: heartbeat before the store is there = %v, want %v", by.name, got, unavailable)
		}
	}
	if got := w.get("/ready", ""); got.status != http.StatusServiceUnavailable {
		t.Errorf("/ready = %d, want 503", got.status)
	}
	cluster.Restart()
	w.ready()
	if got := w.make(ways()[0], call{"RegisterMC", "mc", registration(), w.mc()}); got != (outcome{}) {
		t.Errorf("RegisterMC() = %v, want OK", got)
	}
}
