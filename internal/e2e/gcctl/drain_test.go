package gcctl_test

import (
	"strings"
	"testing"
	"time"

	"darktower.example/global-controller/internal/operatorcli"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

func TestADrainIsPlannedAskedForAndDone(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		got := w.want(0, "drain", "mc-eu-2", "--dry-run")
		contains(t, "dry run", got.out, "Plan: drain mc-eu-2 of eu", "20 meetings and 100 participants", "3 take meetings now, 2 after", "safe           yes")
		if w.ids("--draining") != "" {
			t.Error("a dry run drained")
		}
		contains(t, "without a terminal and --yes", w.want(2, "drain", "mc-eu-2").err, "--yes")

		w.typing(strings.NewReader("no\n"))
		contains(t, "answer no", w.want(1, "drain", "mc-eu-2").err, "Drain 1 controller? [y/N]", "nothing was changed")
		w.typing(strings.NewReader(""))
		w.want(1, "drain", "mc-eu-2")
		if w.ids("--draining") != "" {
			t.Error("drained without a yes")
		}
		w.typing(strings.NewReader("y\n"))
		contains(t, "answer yes", w.want(0, "drain", "mc-eu-2", "--reason", "rack 4").out, "mc-eu-2 drains: 20 meetings")
		w.change = func(*operatorcli.Process) {}

		// Another region, where one drain is safe and two are not: each plan takes those before it for drained.
		for _, how := range []string{"--dry-run", "--yes"} {
			got = w.want(4, "drain", "mc-us-1", "mc-us-2", "mc-us-3", how)
			contains(t, "several", got.out, "3 take meetings now, 2 after", "2 take meetings now, 1 after", "1 take meetings now, 0 after")
			contains(t, "several", got.err, "each plan takes those before it for drained", "not safe to drain: mc-us-2 and mc-us-3;")
			if got := w.ids("--draining"); got != "mc-eu-2" {
				t.Errorf("draining = %q, want none of those that cannot all be drained", got)
			}
		}
		got = w.want(0, "drain", "mc-us-1", "mc-us-1", "--yes")
		if n := strings.Count(got.out, "Plan:"); n != 1 {
			t.Errorf("%d plans for one controller that was named twice:\n%s", n, got.out)
		}
		contains(t, "refused by the service", w.want(4, "drain", "mc-us-1", "mc-us-2", "--yes").err, "not safe to drain: mc-us-2; --force")
		if got := w.want(0, "__complete", "undrain", "mc-").out; !strings.HasPrefix(got, "mc-eu-2") || !strings.Contains(got, "mc-us-1") || strings.Contains(got, "mc-us-2") {
			t.Errorf("undrain completes\n%swant those that are drained", got)
		}
		contains(t, "undrain", w.want(0, "undrain", "mc-eu-2", "mc-us-1").out, "no operator drains mc-eu-2: it is healthy")
		w.want(3, "drain", "mc-eu-9", "--yes")
		w.want(3, "undrain", "mc-eu-9")
		w.want(2, "drain", "mc-eu-2", "--yes", "--deadline", "yesterday")
		w.want(2, "drain", "mc-eu-2", "--yes", "--deadline", "2001-01-02T15:04:05Z")
		w.want(2, "drain", "mc-eu-2", "mc-eu-3", "--yes", "--expected-generation", "1")
		w.want(2, "drain", "mc-eu-2", "--dry-run", "--wait")
		contains(t, "no number", w.want(2, "drain", "mc-eu-2", "--expected-generation", "abc").err, `--expected-generation is "abc": allowed is a whole number, 0 or more; see`)
		contains(t, "no such form", w.want(2, "drain", "mc-eu-2", "-o", "wide").err, `-o is "wide": allowed is json or yaml`)
		ill := controllerOf("mc-ap-1", "ap", 3)
		ill.health = pb.HealthStatus_HEALTH_STATUS_UNHEALTHY
		w.register(ill)
		contains(t, "one that takes none", w.want(0, "drain", "mc-ap-1", "--dry-run").out, "yes: it takes no meetings now, so that nothing is taken away from ap")
	})
}

func TestAnUnsafeDrainNeedsForce(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.register(controllerOf("mc-1", "eu", 10), controllerOf("mc-2", "eu", 10))
		for _, args := range [][]string{{"--dry-run"}, {"--yes"}} {
			got := w.want(4, append([]string{"drain", "mc-1"}, args...)...)
			contains(t, "unsafe", got.out, "NO: eu could not lose its largest controller any more")
			contains(t, "unsafe", got.err, "--force")
		}
		if w.ids("--draining") != "" {
			t.Error("an unsafe drain was done")
		}
		w.want(0, "drain", "mc-1", "--dry-run", "--force")
		plans := decoded[[]struct {
			ControllerID string `json:"controller_id"`
			Plan         struct {
				Safe    bool     `json:"safe"`
				Reasons []string `json:"reasons"`
			} `json:"plan"`
		}](t, w.want(4, "drain", "mc-1", "--dry-run", "-o", "json").out)
		if len(plans) != 1 || plans[0].ControllerID != "mc-1" || plans[0].Plan.Safe || len(plans[0].Plan.Reasons) == 0 {
			t.Errorf("the plan as JSON = %+v, want an unsafe one of mc-1", plans)
		}
		w.want(2, "drain", "mc-1", "--force", "-o", "json")
		done := w.want(7, "drain", "mc-1", "--yes", "--force", "-o", "json", "--wait", "--deadline", "1s")
		if drained := decoded[[]listedController](t, done.out); len(drained) != 1 || drained[0].Health != "draining" || !strings.Contains(done.err, "the deadline is over") {
			t.Errorf("drain -o json --wait = %+v, and beside it %q", drained, done.err)
		}
		if got := w.ids("--draining"); got != "mc-1" {
			t.Errorf("draining = %q, want mc-1", got)
		}
	})
}

// meanwhile is somebody who types after another operator has acted.
type meanwhile struct{ act func() }

func (m meanwhile) Read(p []byte) (int, error) {
	m.act()
	return copy(p, "y\n"), nil
}

func TestTwoOperatorsDoNotOverwriteEachOther(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		w.want(4, "drain", "mc-eu-1", "--yes", "--expected-generation", "7")
		w.typing(meanwhile{func() {
			w.change = func(*operatorcli.Process) {}
			w.want(0, "drain", "mc-eu-1", "--yes", "--reason", "I was first")
		}})
		contains(t, "overtaken", w.want(4, "drain", "mc-eu-1", "--reason", "I am late").err, "somebody else has decided about mc-eu-1", "gcctl fleet show mc-eu-1")
		w.change = func(*operatorcli.Process) {}
		contains(t, "the first", w.want(0, "fleet", "show", "mc-eu-1").out, "I was first", "generation     1")
		w.want(4, "undrain", "mc-eu-1", "--expected-generation", "0")
		w.want(4, "deregister", "mc-eu-1", "--yes", "--expected-generation", "0")
		w.want(2, "deregister", "mc-eu-1", "mc-eu-2", "--yes", "--expected-generation", "1")
		w.want(0, "undrain", "mc-eu-1", "--yes", "--expected-generation", "1") // As its siblings take it: a script need not know which asks.

		// What was safe when it was looked at is not any more.
		w.typing(meanwhile{func() {
			w.change = func(*operatorcli.Process) {}
			w.want(0, "drain", "mc-us-3", "--yes")
		}})
		contains(t, "not safe any more", w.want(4, "drain", "mc-us-1").err, "refused: The drain is not safe: us ", "; force drains all the same")
		// Of several, those before the one that somebody else has decided about are drained, and it says so.
		w.typing(meanwhile{func() {
			w.change = func(*operatorcli.Process) {}
			w.want(0, "drain", "mc-us-2", "--yes", "--force")
		}})
		contains(t, "half way", w.want(4, "drain", "mc-us-1", "mc-us-2", "mc-eu-1", "--force").err, "1 of 3 were drained before this; mc-us-2 and what follows were not")
		if got := w.ids("--draining"); got != "mc-us-1 mc-us-2 mc-us-3" {
			t.Errorf("draining = %q, want those of us", got)
		}
	})
}

func TestADrainIsWaitedFor(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		r := w.start("drain", "mc-eu-1", "mc-eu-2", "--yes", "--force", "--wait")
		w.until("progress", func() bool { return strings.Contains(r.errs.String(), "mc-eu-2: left: 20 meetings") })
		w.beat(controllerOf("mc-eu-1", "eu", 0))
		w.until("one is drained", func() bool { return strings.Contains(r.out.String(), "mc-eu-1 is drained") })
		w.beat(controllerOf("mc-eu-2", "eu", 1))
		w.until("more progress", func() bool { return strings.Contains(r.errs.String(), "mc-eu-2: left: 1 meeting and 5 participants") })
		w.want(0, "deregister", "mc-eu-2", "--yes")
		if code := r.end(); code != 3 || !strings.Contains(r.errs.String(), "mc-eu-2 left the fleet before it was drained") {
			t.Errorf("drain --wait, deregistered = %d, want 3: what runs on it is unknown\n%s%s", code, r.out, r.errs)
		}

		// A deadline ends it with a code of its own, and an interrupt ends the waiting only.
		r = w.start("drain", "mc-eu-3", "--yes", "--force", "--wait", "--deadline", "2s")
		if code := r.end(); code != 7 || !strings.Contains(r.errs.String(), "mc-eu-3 is not drained: the deadline is over; left: 30 meetings") {
			t.Errorf("drain --wait --deadline = %d, want 7\n%s%s", code, r.out, r.errs)
		}
		w.typing(strings.NewReader(""))
		r = w.start("drain", "mc-us-1", "--yes", "--force", "--wait")
		w.until("a line is drawn", func() bool { return strings.Contains(r.errs.String(), "\r\x1b[Kmc-us-1: left: 10 meetings") })
		if code := r.interrupt(); code != 130 || !strings.Contains(r.errs.String(), "mc-us-1 goes on draining") {
			t.Errorf("drain --wait, interrupted = %d\n%s%s", code, r.out, r.errs)
		}
		w.change = func(*operatorcli.Process) {}
		r = w.start("drain", "mc-us-2", "--yes", "--force", "--wait")
		w.until("progress", func() bool { return strings.Contains(r.errs.String(), "mc-us-2: left") })
		w.want(0, "undrain", "mc-us-2")
		if code := r.end(); code != 4 || !strings.Contains(r.errs.String(), "ended before it was complete") {
			t.Errorf("drain --wait, undrained = %d\n%s%s", code, r.out, r.errs)
		}
	})
}

func TestDeregisterAsksAndWarns(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		w.want(2, "deregister", "mc-eu-1")
		w.typing(strings.NewReader("n\n"))
		contains(t, "deregister", w.want(1, "deregister", "mc-eu-1").err, "mc-eu-1 runs: it was heard", "registers again", "Take mc-eu-1 out of the fleet? [y/N]")
		w.typing(strings.NewReader("yes\n"))
		contains(t, "deregister", w.want(0, "deregister", "mc-eu-1", "mc-eu-2", "--reason", "given back").out, "mc-eu-1 is out of the fleet", "mc-eu-2 is out")
		w.want(3, "deregister", "mc-eu-1", "--yes")
		w.change = func(*operatorcli.Process) {}
		contains(t, "history", w.want(0, "history", "mc-eu-1").out, "healthy  →  -", "given back")
	})
}

func TestHistoryByTimeAndAsItComes(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		contains(t, "no history", w.want(0, "history").err, "nothing has happened")
		w.threeEach()
		lines := strings.Split(strings.TrimSpace(w.want(0, "history").out), "\n")
		if len(lines) != 13 || !strings.Contains(lines[1], "mc-eu-1") || !strings.Contains(lines[12], "mc-us-3") {
			t.Errorf("history = %d lines, want a head and 12, the newest last:\n%s", len(lines), strings.Join(lines, "\n"))
		}
		count := func(args ...string) int {
			t.Helper()
			return len(decoded[[]map[string]any](t, w.want(0, append([]string{"history", "-o", "json"}, args...)...).out))
		}
		later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		for _, tc := range []struct {
			args string
			want int
		}{
			{"mc-eu-1", 2},
			{"--region us", 6},
			{"--limit 5", 5},
			{"--limit 12", 12},
			{"--since 1h", 12},
			{"--since " + later, 0},
			{"--until " + later, 12},
			{"--until 1h", 0},
			{"--since 1h --limit 3", 3},
		} {
			if got := count(strings.Fields(tc.args)...); got != tc.want {
				t.Errorf("history %s = %d changes, want %d", tc.args, got, tc.want)
			}
		}
		contains(t, "cut", w.want(0, "history", "--since", "1h", "--limit", "3").err, "older changes are left out")

		text := w.start("history", "--follow", "--region", "eu")
		lined := w.start("history", "mc-eu-2", "--follow", "--limit", "1", "-o", "json")
		w.until("what there was", func() bool {
			return strings.Count(text.out.String(), "\n") == 6 && strings.Count(lined.out.String(), "\n") == 1
		})
		w.want(0, "drain", "mc-eu-2", "mc-us-2", "--yes", "--force", "--reason", "rack 4")
		w.until("what comes", func() bool {
			return strings.Contains(text.out.String(), "rack 4") && strings.Contains(lined.out.String(), `"reason":"rack 4"`)
		})
		if code := text.interrupt(); code != 130 || strings.Contains(text.out.String(), "mc-us-2") || text.errs.String() != "" {
			t.Errorf("history --follow = %d, want 130 and only one region\n%s%s", code, text.out, text.errs)
		}
		if code := lined.interrupt(); code != 130 || strings.Count(lined.out.String(), "\n") != 2 {
			t.Errorf("history --follow = %d, want 130 and two objects\n%s%s", code, lined.out, lined.errs)
		}
		for _, args := range []string{"--limit 0", "--since soon", "--since -1h", "--follow --until 1h", "--follow -o yaml", "-o wide"} {
			w.want(2, append([]string{"history"}, strings.Fields(args)...)...)
		}
	})
}
