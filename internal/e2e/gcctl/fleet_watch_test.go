package gcctl_test

import (
	"strings"
	"testing"

	"darktower.example/global-controller/internal/operatorcli"
	"darktower.example/global-controller/internal/testpg"
)

// change is a line of --watch -o json.
type change struct {
	Event      string                       `json:"event"`
	Transition *struct{ To, Reason string } `json:"transition"`
}

func changesOf(t *testing.T, text string) (changes []change) {
	t.Helper()
	for line := range strings.Lines(text) {
		changes = append(changes, decoded[change](t, line))
	}
	return changes
}

func TestTheFleetIsWatchedLineByLine(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		lines := w.start("fleet", "ls", "--watch", "--region", "eu")
		objects := w.start("fleet", "ls", "--watch", "-o", "json", "--id", "mc-eu-1")
		w.until("the fleet as it is", func() bool {
			return strings.Contains(lines.out.String(), "3 controllers: 3 healthy") && strings.Contains(objects.out.String(), `"event":"present"`)
		})
		w.want(0, "drain", "mc-eu-1", "mc-us-1", "--yes", "--reason", "rack 4")
		w.until("a drain", func() bool {
			return strings.Contains(lines.out.String(), "healthy → draining") && strings.Contains(objects.out.String(), "rack 4")
		})
		// What stops and comes back at the same address is followed on, and nothing of what happened is lost or told twice.
		w.stop()
		w.until("the end is told", func() bool { return strings.Contains(lines.errs.String(), "it is tried again") })
		w.run()
		w.until("it is back", func() bool { return strings.Contains(lines.errs.String(), "answers again") })
		w.want(0, "undrain", "mc-eu-1")
		w.want(0, "deregister", "mc-eu-1", "--yes")
		w.register(controllerOf("mc-eu-9", "eu", 0))
		w.until("all of it", func() bool {
			return strings.Contains(lines.out.String(), "mc-eu-9               eu            pending → healthy") && strings.Contains(objects.out.String(), `"event":"removed"`)
		})
		if code := lines.interrupt(); code != 130 {
			t.Errorf("fleet ls --watch, interrupted = %d, want 130", code)
		}
		if code := objects.interrupt(); code != 130 {
			t.Errorf("fleet ls --watch -o json, interrupted = %d, want 130", code)
		}
		out := lines.out.String()
		contains(t, "lines", out, "operator   by dev-admin, rack 4", "draining → healthy", "healthy → -", "- → pending")
		if strings.Contains(out, "mc-us-1") || strings.Count(out, "rack 4") != 1 {
			t.Errorf("want one region only, and each change once:\n%s", out)
		}
		var got []string
		for _, c := range changesOf(t, objects.out.String()) {
			if c.Transition != nil {
				c.Event += " " + c.Transition.To
			}
			got = append(got, c.Event)
		}
		if text := strings.Join(got, ", "); text != "present, changed draining, changed healthy, removed " {
			t.Errorf("objects = %s", text)
		}
		if strings.Contains(lines.out.String(), "not known") {
			t.Errorf("what was missed ought to be known:\n%s", lines.out)
		}
	})
}

func TestTheFleetIsWatchedInATerminal(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		w.typing(strings.NewReader(""))
		r := w.start("fleet", "ls", "--watch", "--color", "never", "--region", "eu")
		w.change = func(*operatorcli.Process) {}
		w.until("the table", func() bool {
			return strings.Contains(r.out.String(), "3 controllers: 3 healthy  (Ctrl-C ends)") && strings.Contains(r.out.String(), "mc-eu-3")
		})
		w.beat(controllerOf("mc-eu-2", "eu", 77))
		w.until("a load", func() bool { return strings.Contains(r.out.String(), "77/100") })
		w.want(0, "drain", "mc-eu-2", "--yes", "--force")
		w.until("a change", func() bool { return strings.Contains(r.out.String(), "3 controllers: 2 healthy, 1 draining") })
		if code := r.interrupt(); code != 130 || !strings.Contains(r.out.String(), "\x1b[5A\r\x1b[J") {
			t.Errorf("fleet ls --watch = %d, want 130, and the table drawn over the one before\n%q", code, r.out)
		}
		w.want(2, "fleet", "ls", "--watch", "-o", "yaml")
		w.want(3, "fleet", "show", "mc-eu-9")
	})
}

func TestFollowingGoesOnAfterARestart(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		r := w.start("history", "--follow", "mc-eu-1")
		w.until("what there was", func() bool { return strings.Count(r.out.String(), "\n") == 2 })
		w.stop()
		w.until("the end is told", func() bool { return strings.Contains(r.errs.String(), "it is tried again") })
		w.run()
		w.want(0, "drain", "mc-eu-1", "--yes")
		w.until("what came meanwhile", func() bool { return strings.Contains(r.out.String(), "healthy → draining") })
		w.until("it is told", func() bool { return strings.Contains(r.errs.String(), "nothing was left out") })
		if code := r.interrupt(); code != 130 || strings.Count(r.out.String(), "\n") != 3 {
			t.Errorf("history --follow = %d, want 130 and each change once\n%s", code, r.out)
		}
	})
}

func TestHistoryFollow_RestoredBackup(t *testing.T) {
	onBothStores(t, func(t *testing.T, w *world) {
		w.threeEach()
		w.stop()
		restore := testpg.Backup(t, w.cfg.DatabaseURL)
		w.run()
		r := w.start("history", "--follow")
		w.want(0, "drain", "mc-eu-1", "--yes", "--force", "--reason", "lost")
		w.until("what is lost later", func() bool { return strings.Contains(r.out.String(), "lost") })

		w.stop()
		restore()
		w.run()
		for _, id := range []string{"mc-us-1", "mc-us-2", "mc-us-3"} {
			w.want(0, "drain", id, "--yes", "--force", "--reason", "new")
		}
		w.until("what is new", func() bool { return strings.Count(r.out.String(), "new") >= 3 })
		if code := r.interrupt(); code != 130 || strings.Count(r.errs.String(), "the history was replaced") != 1 {
			t.Errorf("history --follow = %d, want 130, and one line that says that the history was replaced\n%s", code, r.errs)
		}
	})
}
